/* A library that answers as NVML does on a machine with two GPUs, whose device nodes are numbered the other way round. */
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_t;

static const char *names[] = {"Tesla T4", "NVIDIA A100-SXM4-80GB"};
static const char *uuids[] = {"GPU-00000000-aaaa", "GPU-11111111-bbbb"};
static const unsigned long long mib[] = {15360, 81920};

#ifdef NO_DRIVER
int nvmlInit_v2(void) { return 9; }
#else
int nvmlInit_v2(void) { return 0; }
#endif
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
#ifdef LOST
    if (index == 0) return 15;
#endif
    *device = (void *)(unsigned long)(index + 1);
    return 0;
}
static int of(void *device) { return (int)(unsigned long)device - 1; }
int nvmlDeviceGetName(void *device, char *name, unsigned int length) { strncpy(name, names[of(device)], length); return 0; }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) { strncpy(uuid, uuids[of(device)], length); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) { memory->total = mib[of(device)] << 20; return 0; }
int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor) { *minor = 1 - of(device); return 0; }
