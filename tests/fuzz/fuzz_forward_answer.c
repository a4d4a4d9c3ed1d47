// What a fluentd server answers: acknowledgements, HELO and PONG, cut anywhere, one after the other. Input: a byte that
// chooses the cuts, then the stream.
#include "fuzz.h"
#include "logging/forward.h"

static const struct forward_login login = {
	.hostname = "client", .shared_key = "key", .username = "user", .password = "pass"};

static void check_answer(const struct forward_answer *answer, const struct forward_answer *helo)
{
	struct error err = {0};
	struct buf out = {0};
	struct forward_answer again;
	size_t used;

	CHECK(strlen(answer->ack) == 0 || strlen(answer->ack) == FORWARD_ID_LEN);
	CHECK(answer->nonce.len <= sizeof(answer->nonce.data) && answer->auth.len <= sizeof(answer->auth.data));
	CHECK(is_utf8(answer->reason) && is_utf8(answer->hostname) && is_utf8(answer->ack) && is_utf8(answer->digest));
	if (answer->kind == FORWARD_HELO) {
		CHECK(forward_ping(&login, answer, "00112233445566778899aabbccddeeff", &out, &err) == 0);
		// Ours has bounds too: it is one object.
		CHECK(forward_answer_decode(out.data, out.len, &used, &again, &err) == 1 && used == out.len);
	}
	if (answer->kind == FORWARD_PONG &&
	    forward_check_pong(&login, helo, answer, "00112233445566778899aabbccddeeff", &err) < 0) {
		CHECK(err.code == EACCES);
		check_reason(err.message);
	}
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forward_answer answer, helo = {.kind = FORWARD_HELO};
	struct buf in = {.max = 2 * FORWARD_ANSWER_MAX};
	struct error err = {0};
	size_t used, whole = 0;

	if (size < 1)
		return 0;
	struct cutter cutter = {data[0]};
	for (size_t at = 1; at < size;) {
		size_t n = cut(&cutter, size - at);
		int r;
		CHECK(buf_append(&in, data + at, n) == 0);
		at += n;
		for (;;) {
			_cleanup_free_ char *exact = fuzz_bytes((const uint8_t *)in.data, in.len);
			r = forward_answer_decode(exact, in.len, &used, &answer, &err);
			CHECK(r <= 0 ? used == 0 : used > 0 && used <= in.len && used <= FORWARD_ANSWER_MAX);
			if (r <= 0)
				break;
			check_answer(&answer, &helo);
			if (answer.kind == FORWARD_HELO)
				helo = answer;
			whole += used;
			memmove(in.data, in.data + used, in.len - used);
			in.len -= used;
		}
		if (r < 0) {
			CHECK(r == -EBADMSG || r == -EMSGSIZE);
			check_reason(err.message);
			break;
		}
		CHECK(in.len <= FORWARD_ANSWER_MAX + 128); // never waits for more than an answer
	}
	CHECK(whole <= size);
	buf_free(&in);
	return 0;
}
