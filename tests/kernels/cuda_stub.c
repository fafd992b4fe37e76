/* Stands for the CUDA driver: device memory is the host's, streams do nothing, a launch is written down.
   stub_held counts what was given out and not given back: addresses, streams and the device.
   stub_launch holds grid, block and shared bytes, then how many values were passed and what they were. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

uint64_t stub_launch[64];
int stub_held;
int stub_sizes[32], stub_count; /* set by the test: bytes of each argument of the kernel */

int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { stub_held++; *context = (void *)(intptr_t)(device + 1); return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { stub_held--; return device; }
int cuCtxSetCurrent(void *context) { return context == NULL; }
int cuStreamDestroy_v2(void *stream) { stub_held--; return stream != (void *)7; }
int cuStreamCreate(void **stream, unsigned flags) { stub_held++; *stream = (void *)(intptr_t)(flags + 6); return 0; }
int cuStreamSynchronize(void *stream) { return stream != (void *)7; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; strncpy(name, "Stub 9000", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return device; }
int cuMemAlloc_v2(uint64_t *address, size_t size) { stub_held++; *address = (uint64_t)malloc(size); return *address == 0; }
int cuMemFree_v2(uint64_t address) { stub_held--; free((void *)address); return 0; }
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t size, void *stream) { memset((void *)address, value, size); return stream != (void *)7; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) { memcpy((void *)to, from, size); return stream != (void *)7; }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) { memcpy(to, (void *)from, size); return stream != (void *)7; }

struct copy { /* CUDA_MEMCPY2D, as cuda.h has it */
    size_t srcXInBytes, srcY; unsigned srcMemoryType; const void *srcHost; uint64_t srcDevice; void *srcArray; size_t srcPitch;
    size_t dstXInBytes, dstY; unsigned dstMemoryType; void *dstHost; uint64_t dstDevice; void *dstArray; size_t dstPitch;
    size_t WidthInBytes, Height;
};

int cuMemcpy2DAsync_v2(const struct copy *c, void *stream) {
    if (c->srcMemoryType != 2 || c->dstMemoryType != 2 || stream != (void *)7) return 1;
    for (size_t y = 0; y < c->Height; y++)
        memcpy((char *)c->dstDevice + y * c->dstPitch, (char *)c->srcDevice + y * c->srcPitch, c->WidthInBytes);
    return 0;
}

int cuModuleLoadData(void **module, const void *image) {
    *module = (void *)image;
    stub_launch[61] += 1; /* modules loaded */
    return strncmp(image, "PTX", 3) != 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = module; return strcmp(name, "entry") != 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) { (void)function; stub_launch[60] = value; return attribute != 8; }

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    uint64_t head[] = {gx, gy, gz, bx, by, bz, shared, stub_count};
    if (function == NULL || stream != (void *)7 || extra != NULL) return 1;
    memcpy(stub_launch, head, sizeof head);
    for (int i = 0; i < stub_count; i++) {
        stub_launch[8 + i] = 0;
        memcpy(&stub_launch[8 + i], parameters[i], stub_sizes[i]);
    }
    return 0;
}
