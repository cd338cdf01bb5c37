/* File locks as some network file systems have them: none. Loaded before a
 * program's own libraries (LD_PRELOAD). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>

static int refuse(void)
{
    errno = ENOLCK;
    return -1;
}

int flock(int fd, int operation)
{
    (void)fd;
    (void)operation;
    return refuse();
}

int lockf(int fd, int command, off_t len)
{
    (void)fd;
    (void)command;
    (void)len;
    return refuse();
}

int fcntl(int fd, int command, ...)
{
    int (*other)(int, int, ...);
    void *found = dlsym(RTLD_NEXT, "fcntl");
    va_list arguments;
    void *argument;

    memcpy(&other, &found, sizeof(other));

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
        command == F_OFD_SETLKW)
        return refuse();
    return other(fd, command, argument);
}
