#include LD_HEADER

int ld_header_stands_alone(void);
int ld_header_stands_alone(void)
{
    return 0;
}
