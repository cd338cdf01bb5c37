/* abi.h - what a program and a plug-in must have in common. */
#pragma once

/* A checksum of the headers that both were compiled with, and their length; of
 * the plug-in it is the symbol that dlsym finds. kernels/meson.build makes it.
 */
__attribute__((
    visibility("default"))) extern const unsigned long ld_device_abi[2];
