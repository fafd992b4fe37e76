/* Stands for TensorRT's three libraries, which are not on PyPI: enough that its real Python bindings import.
   The plugin registry answers every call with nothing; a builder cannot be made. */
#include <stddef.h>

static void *nothing(void) { return NULL; }
static void *functions[64];
static struct { void **functions; } registry = {functions};

__attribute__((constructor)) static void fill(void) {
    for (int i = 0; i < 64; i++) functions[i] = (void *)nothing;
}

void *getPluginRegistry(void) { return &registry; }
void *getBuilderPluginRegistry(int capability) { (void)capability; return &registry; }
void *createInferBuilder_INTERNAL(void *logger, int version) { (void)logger, (void)version; return NULL; }
void *createInferRuntime_INTERNAL(void *logger, int version) { (void)logger, (void)version; return NULL; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { (void)engine, (void)logger, (void)version; return NULL; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { (void)network, (void)logger, (void)version; return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { (void)refitter, (void)logger, (void)version; return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *library) { (void)logger, (void)library; return 0; }
