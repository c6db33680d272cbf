// What AMD's chips can run of the kernels: those in 32-bit floats.
#include "plain.cu"
