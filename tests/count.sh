# count.sh - counts what a test of programs finds; output of the last command in
# out.txt. For sh, to be sourced in a folder of the test's own.
# shellcheck shell=sh disable=SC2034
passed=0 failed=0 skipped=0

ok() { # name, status
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        echo "PASS $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        sed 's/^/     /' out.txt 2>/dev/null | tail -n 5
    fi
}

runs() { # name, command...
    name=$1
    shift
    "$@" >out.txt 2>&1
    ok "$name" $?
}

# Fails with status 1 to 9 (not a signal), and its last line holds the text.
refuses() { # name, text, command...
    name=$1 text=$2
    shift 2
    "$@" >out.txt 2>&1
    status=$?
    [ "$status" -gt 0 ] && [ "$status" -lt 10 ] && tail -n 1 out.txt | grep -qF -- "$text"
    ok "$name" $?
}

same() { # name, file, file
    cmp "$2" "$3" >out.txt 2>&1
    ok "$1" $?
}

no_temporaries() { # name, folder
    find "$2" -name '*.tmp*' >out.txt
    [ ! -s out.txt ]
    ok "$1" $?
}
