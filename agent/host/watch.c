#include "host/watch.h"

#include "common/backoff.h"
#include "common/capabilities.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/service.h"
#include "common/version.h"
#include "host/changes.h"
#include <inttypes.h>
#include <signal.h>

#define SETTLE_MS 500      // changes come in bunches
#define POLL_MS 30000      // where nobody tells of changes
#define HOLD_MIN_MS 1000   // between putting back and the next look
#define HOLD_MAX_MS 300000 // the same, when it did not help again and again
#define CALM_MS 600000     // after which it counts as new
#define FIGHT_COUNT 3      // times without such calm, after which it is called by its name

struct watcher {
	struct host *host;
	struct loop *loop;
	int changes_fd; // -1: nobody tells of changes
	struct watch *changes;
	struct timer look_timer, poll_timer;
	struct backoff hold;
	uint64_t put_back_at, hold_until; // loop time
	unsigned times;                   // something was put back without calm in between
	bool rules;                       // the next look is at the rules too,
	bool anew;                        // and for something that was not to be there before
	char last_error[ERROR_MESSAGE_MAX];
};

static void look(void *arg);
static void first_turn(void *arg);
static void poll_turn(void *arg);
static void on_change(int fd, unsigned events, void *arg);
static void on_signal(int signal, unsigned events, void *arg);

int watch_run(struct host *host, struct error *err)
{
	static const cap_value_t kept[] = {CAP_NET_ADMIN, CAP_NET_RAW};
	struct watcher watcher = {.host = host, .changes_fd = -1, .hold = BACKOFF(HOLD_MIN_MS, HOLD_MAX_MS, 2, 0)};

	watcher.loop = loop_new(host->config.clock_scale, err);
	if (!watcher.loop)
		return -err->code;
	struct watch *term = signal_watch_new(watcher.loop, SIGTERM, on_signal, &watcher);
	struct watch *interrupt = signal_watch_new(watcher.loop, SIGINT, on_signal, &watcher);
	timer_init(&watcher.look_timer, watcher.loop, look, &watcher);
	timer_init(&watcher.poll_timer, watcher.loop, poll_turn, &watcher);
	if (host->filter.notifies) { // before anything is in place
		watcher.changes_fd = changes_open(err);
		if (watcher.changes_fd < 0)
			log_warn("changes of rules are looked for every 30 seconds", "reason=%s", err->message);
		else
			watcher.changes = watch_new(watcher.loop, watcher.changes_fd, LOOP_READ, on_change, &watcher);
	}
	int r = host_set_up(host, err);
	if (r == 0) {
		r = capabilities_keep(kept, ARRAY_SIZE(kept)); // modules are loaded now
		if (r < 0)
			log_warn("capabilities are not dropped", "error=%s", strerror(-r));
		service_ready();
		service_watch(watcher.loop);
		log_info("watching", "version=%s commit=%s by=%s", ecsd_version, ecsd_commit,
			 watcher.changes ? "notifications" : "polling");
		loop_defer(watcher.loop, first_turn, &watcher);
		r = loop_run(watcher.loop);
		r = r < 0 ? error_set_errno(err, -r, "event loop") : 0;
		service_watch_end();
		service_stopping();
		if (r == 0 && (r = host_undo(host, err)) == 0)
			log_info("everything is undone", NULL);
	}
	timer_done(&watcher.look_timer);
	timer_done(&watcher.poll_timer);
	watch_free(watcher.changes);
	if (watcher.changes_fd >= 0)
		close(watcher.changes_fd);
	watch_free(term);
	watch_free(interrupt);
	loop_free(watcher.loop);
	return r;
}

static void on_signal(int signal, unsigned events, void *arg)
{
	(void)signal, (void)events;
	loop_stop(((struct watcher *)arg)->loop);
}

static void on_change(int fd, unsigned events, void *arg)
{
	struct watcher *watcher = arg;
	(void)events;

	if (!changes_read(fd))
		return;
	watcher->rules = true;
	uint64_t now = loop_now(watcher->loop), wait = SETTLE_MS;
	if (watcher->hold_until > now + wait)
		wait = watcher->hold_until - now;
	if (!timer_running(&watcher->look_timer))
		timer_start(&watcher->look_timer, wait);
}

// The start has not waited for Docker.
static void first_turn(void *arg)
{
	struct watcher *watcher = arg;

	if (host_ask_docker(watcher->host)) {
		watcher->anew = watcher->rules = true;
		look(watcher);
	}
	timer_start(&watcher->poll_timer, POLL_MS);
}

static void poll_turn(void *arg)
{
	struct watcher *watcher = arg;
	struct host *host = watcher->host;

	if (host_config_reread(&host->files, &host->config)) {
		log_info("the configuration has changed", "files=%s", host->files.files.paths);
		watcher->anew = true;
	}
	if (host_ask_docker(host))
		watcher->anew = true;
	if (!watcher->changes || watcher->anew)
		watcher->rules = true;
	if (loop_now(watcher->loop) >= watcher->hold_until && !timer_running(&watcher->look_timer))
		look(watcher);
	timer_start(&watcher->poll_timer, POLL_MS);
}

static void put_back(struct watcher *watcher, const char *what)
{
	uint64_t now = loop_now(watcher->loop);

	if (watcher->put_back_at && now - watcher->put_back_at > CALM_MS) {
		backoff_reset(&watcher->hold);
		watcher->times = 0;
	}
	uint64_t hold = backoff_next(&watcher->hold);
	watcher->put_back_at = now;
	watcher->hold_until = now + hold;
	watcher->times++;
	log_warn("put back what was missing", "missing=%s next_look_s=%" PRIu64, what, hold / 1000);
	if (watcher->times == FIGHT_COUNT)
		log_error("something on this host takes the set-up away again and again",
			  "times=%u expected=the program that does it has to leave these rules, sysctls and the route "
			  "alone",
			  watcher->times);
}

static void look(void *arg)
{
	struct watcher *watcher = arg;
	struct buf missing = {0};
	struct findings findings = {host_note, &missing};
	struct error err = {0};
	unsigned flags = HOST_MEND | (watcher->rules ? 0 : HOST_WITHOUT_RULES);

	watcher->rules = false;
	if (host_settle(watcher->host, flags, &findings, &err) < 0) {
		watcher->rules =
			true; // with the next poll; what was done may be heard of as a change, and must not hurry it
		watcher->hold_until = loop_now(watcher->loop) + POLL_MS;
		if (strcmp(err.message, watcher->last_error) != 0)
			log_error("the host is not set up as it should be", "error=%s", err.message);
	} else if (*watcher->last_error) {
		log_info("the host is set up again", NULL);
	}
	snprintf(watcher->last_error, sizeof(watcher->last_error), "%s", err.message);
	if (missing.len && !err.code && watcher->anew)
		log_info("the host is set up", "changed=%s", missing.data);
	else if (missing.len && !err.code)
		put_back(watcher, missing.data);
	watcher->anew &= err.code != 0;
	buf_free(&missing);
}
