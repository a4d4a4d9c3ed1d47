// ecsd's side of the endpoint socket: what ecs-endpoint, or whoever stands in for it, and the spawner answer. Input: a
// byte that chooses the cuts, one for the spawner (first connection refused, its answer), then the stream, which goes on
// with a new connection where ecsd has dropped one.
#include <sys/socket.h>
static int fuzz_socket(void);
#define socket(domain, type, protocol) ((void)(domain), (void)(type), (void)(protocol), fuzz_socket())
#define connect(fd, address, len) ((void)(fd), (void)(address), (void)(len), 0)
#include "common/unix_socket.c"
#undef socket
#undef connect
#include "agent/endpoint/endpoint_link.c"
#include "endpoint/endpoint.h"
#include "fuzz_loop.h"
#include "fuzz_wire.h"

#define KNOWN "1295a26b-1757-4d20-88b1-f86e80045c9f"
#define EXPECTED "77777777-0000-4d20-88b1-f86e80045c9f"

static struct {
	bool refused, connected, hello;
	int peer; // the other end of the connection there is
	unsigned opened, held;
	struct buf sent; // on it
} state;

static void on_sent(const struct wire_message *message)
{
	CHECK(state.hello ? message->type <= WIRE_SYNC : message->type == WIRE_HELLO);
	state.hello = true;
}

static void end_peer(void)
{
	if (state.peer < 0)
		return;
	fuzz_drain(state.peer, &state.sent);
	close(state.peer);
	state.hello = false;
	fuzz_messages(&state.sent, on_sent);
	buf_clear(&state.sent);
}

static int fuzz_socket(void)
{
	int pair[2];
	if (!state.refused) {
		state.refused = true;
		errno = ECONNREFUSED;
		return -1;
	}
	fuzz_pair(pair);
	end_peer();
	state.peer = pair[1];
	state.opened++;
	return pair[0];
}

static void on_connected(bool connected, void *arg)
{
	(void)arg;
	CHECK(connected != state.connected && (!connected || state.opened > 0));
	state.connected = connected;
}

static void on_returned(const struct task_credentials *credentials, void *arg)
{
	(void)arg;
	// Only what was asked for, and only once.
	CHECK(str_equal(credentials->id, EXPECTED) && credentials->role == ROLE_TASK_EXECUTION);
	CHECK(!str_empty(credentials->task_arn) && credentials->secret_access_key);
}

static void on_held(void *arg)
{
	(void)arg;
	CHECK(state.held++ == 0 && state.opened > 0);
}

static void fill(struct endpoint *endpoint)
{
	struct error err = {0};
	struct task_credentials credentials = {.id = (char *)KNOWN,
					       .task_arn = (char *)"arn:task",
					       .role_arn = (char *)"arn:role",
					       .access_key_id = (char *)"AKIA",
					       .secret_access_key = (char *)"secret",
					       .session_token = (char *)"token",
					       .expiration = (char *)"2026"};
	endpoint_expect(endpoint, EXPECTED, "arn:other", ROLE_TASK_EXECUTION);
	endpoint_set_instance(endpoint, "lab", "arn:instance");
	endpoint_set_task(endpoint, "arn:task", "{}", (const char *const[]){"dead", "beef"}, 2);
	CHECK(endpoint_put(endpoint, &credentials, on_held, &state, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = fuzz_loop(1e7); // backoffs pass at once
	struct error err = {0};
	if (size < 2)
		return 0;
	struct cutter cutter = {data[0]};
	unsigned spawner = data[1];
	int before = fuzz_free_fd(), pair[2];
	state.refused = !(spawner & 1);
	state.connected = false;
	state.opened = state.held = 0;
	state.peer = -1;
	fuzz_pair(pair);
	struct endpoint *endpoint = endpoint_new(&(struct endpoint_options){.loop = loop,
									    .socket = "/nowhere/ecs-endpoint.sock",
									    .spawner_fd = pair[0],
									    .rps_steady = 40,
									    .rps_burst = 60,
									    .on_connected = on_connected,
									    .on_returned = on_returned},
						 &err);
	CHECK(endpoint);
	fill(endpoint);
	endpoint_start(endpoint);
	for (unsigned i = 0; i < 4 && state.peer < 0; i++) {
		char asked;
		fuzz_turn(loop);
		if (recv(pair[1], &asked, 1, 0) == 1)
			(void)!send(pair[1], &(char){(char)(spawner >> 1)}, spawner & 128 ? 0 : 1, MSG_NOSIGNAL);
	}
	_cleanup_free_ char *stream = fuzz_bytes(data + 2, size - 2);
	size -= 2;
	for (size_t at = 0; at < size;) {
		size_t n = cut(&cutter, size - at);
		if (state.peer >= 0) {
			(void)!send(state.peer, stream + at, n, MSG_NOSIGNAL);
			fuzz_drain(state.peer, &state.sent);
		}
		fuzz_turn(loop);
		at += n;
	}
	const struct task_credentials *known = endpoint_get(endpoint, KNOWN);
	CHECK(known && str_equal(known->secret_access_key, "secret"));
	endpoint_remove(endpoint, EXPECTED);
	endpoint_free(endpoint);
	end_peer();
	close(pair[0]);
	close(pair[1]);
	buf_free(&state.sent);
	CHECK(fuzz_free_fd() == before);
	return 0;
}
