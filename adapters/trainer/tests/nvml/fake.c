/* As much of NVML as the trainer asks, for a card of 16 GiB on which this process and another one compute. The process's share
   rises to 3 GiB and falls again, so that a peak is not the last value. Layouts are those of nvml.h. */
#include <string.h>
#include <unistd.h>

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process;

static const unsigned long long GIB = 1ULL << 30;
static unsigned looks = 0;

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)16; return index == 0 ? 0 : 2; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "Fake", length); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *device, memory *info) {
  info->total = 16 * GIB;
  info->reserved = 0;
  info->used = 5 * GIB;
  info->free = 11 * GIB;
  return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process *all) {
  if (*count < 2) { *count = 2; return 7; } /* NVML_ERROR_INSUFFICIENT_SIZE */
  *count = 2;
  looks++;
  all[0] = (process){1, 2 * GIB, 0xffffffff, 0xffffffff};
  all[1] = (process){(unsigned)getpid(), looks == 2 ? 3 * GIB : GIB, 0xffffffff, 0xffffffff};
  return 0;
}
