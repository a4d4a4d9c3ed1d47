// Before the first input: no log lines (fuzz_log.c tests the logger by itself).
#include "common/log.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return log_open(&(struct log_options){.level = LOG_NONE}, NULL);
}
