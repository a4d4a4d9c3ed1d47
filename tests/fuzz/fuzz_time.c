// Times as Docker and AWS write them.
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char plain[32], precise[40];
	int64_t ms, again;
	if (!parse_rfc3339(text, &ms))
		return 0;
	// The years 0 to 9999, a day of offset more at either end.
	CHECK(ms >= -62167219200000 - 86400000 && ms <= 253402300799999 + 86400000);
	format_rfc3339(ms, plain);
	format_rfc3339_ms(ms, precise);
	CHECK(strlen(plain) == 20 && strlen(precise) == 24);
	if (ms < -62167219200000 || ms > 253402300799999)
		return 0;
	CHECK(parse_rfc3339(precise, &again) && again == ms);
	CHECK(parse_rfc3339(plain, &again) && again <= ms && ms - again < 1000);
	return 0;
}
