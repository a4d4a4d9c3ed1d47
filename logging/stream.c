#include "logging/stream.h"

#include "common/crash_point.h"
#include "common/log.h"
#include "common/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/stat.h>

#define CHUNK SPOOL_BATCH_MAX               // duplicated at once
#define TURN_BYTES ((size_t)1 << 20)        // read in one turn, so that others have theirs
#define BUFFER (RECORD_HEADER + RECORD_MAX) // the longest record
#define REST_BYTES ((size_t)16 << 10)       // a read of less is followed by a rest (STREAM_REST_MS)

struct streams {
	struct loop *loop;
	char *buffer; // BUFFER bytes, of which only what is used costs memory
	int copy[2];  // the pipe that a FIFO's bytes are duplicated into; empty between reads
	int nowhere;  // /dev/null
	bool (*watched)(void *arg);
	void *arg;
};

// The last piece of a line per source, to see what Docker has dropped.
struct piece {
	char id[64];
	int32_t ordinal; // 0: no line is open
	bool unknown;    // read from before, by a process that is gone
};

struct stream {
	struct streams *shared;
	char *path;
	uint32_t number;
	int fd;
	struct spool *spool;
	struct stream_counters *counters;
	void (*on_end)(struct stream *stream, void *arg);
	void *arg;
	struct watch *watch;
	struct timer rest_timer, stall_timer;
	uint64_t stalled_since; // 0: not paused
	uint64_t reported;      // loop time of the last line about a pause; 0: never
	bool blocking, watched, released, ended;
	bool again;       // the first bytes may be in the spool already
	struct buf carry; // of a record that is larger than the FIFO; taken out of it
	struct piece pieces[3];
};

struct batch { // what is appended at once
	size_t len;
	unsigned count;
	uint64_t text; // bytes
	int64_t first_ns, last_ns;
	uint64_t gaps; // pieces that are missing in it
	int64_t gap_ns;
	struct piece before[3]; // the stream's pieces, should the batch be refused and read again
};

enum result { MORE, EMPTY, PAUSED, ENDED };

static enum result read_some(struct stream *stream, size_t *bytes);
static void on_readable(int fd, unsigned events, void *arg);
static void resume(void *arg);
static void on_rested(void *arg);
static void on_stall_timeout(void *arg);
static int duplicate(struct streams *streams, int fd, char *to, size_t max, size_t *len);

struct streams *streams_new(struct loop *loop, struct error *err)
{
	struct streams *streams = xcalloc(1, sizeof(*streams));

	streams->loop = loop;
	streams->copy[0] = streams->copy[1] = -1;
	streams->nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (streams->nowhere < 0 || pipe2(streams->copy, O_CLOEXEC | O_NONBLOCK) < 0) {
		error_set_errno(err, errno, "cannot make the pipe that logs are read through");
		return streams_free(streams);
	}
	fcntl(streams->copy[1], F_SETPIPE_SZ, STREAM_PIPE_BYTES); // smaller is slower, no less right
	streams->buffer = xmalloc(BUFFER);
	return streams;
}

struct streams *streams_free(struct streams *streams)
{
	if (!streams)
		return NULL;
	if (streams->nowhere >= 0)
		close(streams->nowhere);
	if (streams->copy[0] >= 0) {
		close(streams->copy[0]);
		close(streams->copy[1]);
	}
	free(streams->buffer);
	free(streams);
	return NULL;
}

void streams_on_pause(struct streams *streams, bool (*watched)(void *arg), void *arg)
{
	streams->watched = watched;
	streams->arg = arg;
}

struct stream *stream_open(struct streams *streams, const struct stream_options *options, struct spool *spool,
			   struct stream_counters *counters, void (*on_end)(struct stream *, void *), void *arg,
			   struct error *err)
{
	_cleanup_close_ int fd = open(options->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	struct stream *stream;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set_errno(err, errno, "cannot open the log FIFO %s", options->path);
		return NULL;
	}
	if (!S_ISFIFO(st.st_mode)) {
		error_set(err, EINVAL, "%s is not a FIFO", options->path);
		return NULL;
	}
	fcntl(fd, F_SETPIPE_SZ, STREAM_PIPE_BYTES);
	stream = xcalloc(1, sizeof(*stream));
	*stream = (struct stream){.shared = streams,
				  .path = xstrdup(options->path),
				  .number = options->number,
				  .fd = take_fd(&fd),
				  .spool = spool,
				  .counters = counters,
				  .on_end = on_end,
				  .arg = arg,
				  .blocking = options->blocking,
				  .watched = options->watched,
				  .again = options->again,
				  .carry = {.max = BUFFER + CHUNK}};
	for (size_t i = 0; i < ARRAY_SIZE(stream->pieces); i++)
		stream->pieces[i].unknown = options->again;
	timer_init(&stream->rest_timer, streams->loop, on_rested, stream);
	timer_init(&stream->stall_timer, streams->loop, on_stall_timeout, stream);
	stream->watch = watch_new(streams->loop, stream->fd, LOOP_READ | LOOP_EDGE, on_readable, stream);
	loop_defer(streams->loop, resume, stream); // what is there from before
	return stream;
}

struct stream *stream_free(struct stream *stream)
{
	if (!stream)
		return NULL;
	loop_defer_cancel(stream->shared->loop, resume, stream);
	timer_done(&stream->rest_timer);
	timer_done(&stream->stall_timer);
	watch_free(stream->watch);
	close(stream->fd);
	buf_free(&stream->carry);
	free(stream->path);
	free(stream);
	return NULL;
}

const char *stream_path(const struct stream *stream)
{
	return stream->path;
}

uint32_t stream_number(const struct stream *stream)
{
	return stream->number;
}

void stream_release(struct stream *stream)
{
	if (stream->released)
		return;
	stream->released = true;
	loop_defer_cancel(stream->shared->loop, resume, stream);
	loop_defer(stream->shared->loop, resume, stream);
}

void stream_room(struct stream *stream)
{
	if (!stream->stalled_since)
		return;
	loop_defer_cancel(stream->shared->loop, resume, stream);
	loop_defer(stream->shared->loop, resume, stream);
}

void stream_drain(struct stream *stream)
{
	size_t bytes = 0;

	stream->released = true;
	while (read_some(stream, &bytes) == MORE)
		;
	if (stream->carry.len > 0) {
		stream->counters->garbage += stream->carry.len;
		spool_lose(stream->spool, SPOOL_LOST_GARBAGE, 0, stream->carry.len, 0, 0);
		buf_free(&stream->carry);
	}
}

// --- pausing ---

static void pause_reading(struct stream *stream)
{
	uint64_t now = loop_now(stream->shared->loop);

	if (stream->stalled_since)
		return;
	stream->stalled_since = now;
	stream->counters->stalls++;
	timer_start(&stream->stall_timer, STREAM_STALL_MS);
	// While lines leave as slowly as others come, it pauses many times a second.
	if (stream->reported && now - stream->reported < STREAM_REPORT_MS)
		return;
	stream->reported = now;
	log_warn("no room for logs: the container is held back", "container=%s", spool_container_id(stream->spool));
}

static void end_pause(struct stream *stream)
{
	if (!stream->stalled_since)
		return;
	stream->counters->stalled_ms += loop_now(stream->shared->loop) - stream->stalled_since;
	stream->stalled_since = 0;
	timer_stop(&stream->stall_timer);
}

static void on_stall_timeout(void *arg)
{
	struct stream *stream = arg;

	if (stream->watched && stream->shared->watched && stream->shared->watched(stream->shared->arg)) {
		timer_start(&stream->stall_timer, STREAM_STALL_MS);
		return;
	}
	log_warn("no room for logs, and nobody tells whether the container runs: lines are dropped", "container=%s",
		 spool_container_id(stream->spool));
	stream_release(stream);
}

// --- reading ---

static void on_readable(int fd, unsigned events, void *arg)
{
	struct stream *stream = arg;

	(void)fd, (void)events;
	if (!stream->stalled_since || stream->released)
		resume(stream);
}

static void rest(struct stream *stream)
{
	watch_set(stream->watch, 0);
	timer_start(&stream->rest_timer, STREAM_REST_MS);
}

static void on_rested(void *arg)
{
	struct stream *stream = arg;

	// Tells of what has come in the meantime, too.
	watch_set(stream->watch, LOOP_READ | LOOP_EDGE);
}

static void resume(void *arg)
{
	struct stream *stream = arg;
	size_t bytes = 0;
	enum result result = MORE;

	while (result == MORE && bytes < TURN_BYTES)
		result = read_some(stream, &bytes);
	if (result == MORE) {
		loop_defer_cancel(stream->shared->loop, resume, stream);
		loop_defer(stream->shared->loop, resume, stream);
	} else if (result == EMPTY && bytes > 0 && bytes < REST_BYTES) {
		rest(stream);
	} else if (result == ENDED && !stream->ended) {
		stream->ended = true;
		stream->on_end(stream, stream->arg);
	}
}

static void consume(struct stream *stream, size_t len)
{
	while (len > 0) {
		ssize_t n = splice(stream->fd, NULL, stream->shared->nowhere, NULL, len, SPLICE_F_NONBLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) { // cannot be: the bytes were there
			log_error("cannot take bytes out of a log FIFO", "fifo=%s error=%s", stream->path,
				  n < 0 ? strerror(errno) : "it has ended");
			return;
		}
		len -= (size_t)n;
	}
}

// Docker numbers the pieces of a line; what is missing it has dropped (mode=non-blocking with a full queue).
static void watch_for_gaps(struct stream *stream, const struct record *record, struct batch *batch)
{
	struct piece *piece = &stream->pieces[record->source];
	int64_t expected;
	bool same;

	if (!record->partial || record->id_len != sizeof(piece->id)) {
		piece->ordinal = 0;
		piece->unknown = false;
		return;
	}
	same = piece->ordinal > 0 && memcmp(piece->id, record->id, sizeof(piece->id)) == 0;
	expected = same ? (int64_t)piece->ordinal + 1 : 1;
	if (record->ordinal > expected && !piece->unknown) {
		batch->gaps += (uint64_t)(record->ordinal - expected);
		batch->gap_ns = record->time_ns;
	}
	memcpy(piece->id, record->id, sizeof(piece->id));
	piece->unknown = false;
	piece->ordinal = record->last ? 0 : record->ordinal;
}

// 0, or a negative errno: reading pauses. What the disk refuses for another reason counts as no room, too.
static int append(struct stream *stream, const char *records, const struct batch *batch)
{
	bool hold = stream->blocking && !stream->released;
	enum spool_full when_full = hold               ? SPOOL_FULL_REFUSE
				    : stream->blocking ? SPOOL_FULL_DROP_NEWEST
						       : SPOOL_FULL_DROP_OLDEST;
	int r = spool_append(stream->spool, stream->number, records, batch->len, batch->count, batch->first_ns,
			     batch->last_ns, when_full);

	if (r < 0) {
		memcpy(stream->pieces, batch->before, sizeof(stream->pieces));
		return -ENOSPC;
	}
	if (batch->gaps) {
		stream->counters->gaps += batch->gaps;
		spool_lose(stream->spool, SPOOL_LOST_BY_DOCKER, batch->gaps, 0, batch->gap_ns, batch->gap_ns);
	}
	stream->counters->lines += batch->count;
	stream->counters->bytes += batch->text;
	return 0;
}

// Appends the whole records at the start of data and says how many bytes are dealt with: records, and garbage.
static int take_records(struct stream *stream, const char *data, size_t len, size_t *done)
{
	struct batch batch = {0};
	struct record record;
	size_t used;
	enum record_step step;
	int r = 0;

	*done = 0;
	for (;;) {
		step = record_next(data + *done + batch.len, len - *done - batch.len, &used, &record);
		if (step == RECORD_OK && (batch.len == 0 || batch.len + used <= SPOOL_BATCH_MAX)) {
			if (batch.count == 0)
				memcpy(batch.before, stream->pieces, sizeof(batch.before));
			watch_for_gaps(stream, &record, &batch);
			batch.first_ns = batch.count ? batch.first_ns : record.time_ns;
			batch.last_ns = record.time_ns;
			batch.text += record.len;
			batch.count++;
			batch.len += used;
			continue;
		}
		if (batch.len > 0) {
			r = append(stream, data + *done, &batch);
			if (r < 0)
				return r;
			*done += batch.len;
			batch = (struct batch){0};
			if (step == RECORD_OK)
				continue;
		}
		if (step != RECORD_LOST)
			return 0;
		stream->counters->garbage += used;
		spool_lose(stream->spool, SPOOL_LOST_GARBAGE, 0, used, 0, 0);
		*done += used;
	}
}

// The writer is gone, or the FIFO is full, and what is in it is no whole record: the rest will not come, or not fit.
static bool must_take_piece(const struct stream *stream, size_t len, bool *ended)
{
	struct pollfd poll_fd = {.fd = stream->fd, .events = POLLIN};
	int size = fcntl(stream->fd, F_GETPIPE_SZ);

	*ended = poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & POLLHUP;
	// A page may be only partly used, so a full pipe can hold less than its size.
	return *ended || (size > 0 && len >= (size_t)size / 2) || len >= CHUNK;
}

// A piece of a record that never is in the FIFO as a whole. If this process dies now, the piece is lost, and the rest
// is found to be no record.
static enum result take_piece(struct stream *stream, size_t len, size_t *bytes)
{
	bool ended;

	if (!must_take_piece(stream, len, &ended))
		return EMPTY;
	if (ended) {
		stream->counters->garbage += len + stream->carry.len;
		spool_lose(stream->spool, SPOOL_LOST_GARBAGE, 0, len + stream->carry.len, 0, 0);
		buf_free(&stream->carry);
	} else if (buf_append(&stream->carry, stream->shared->buffer, len) < 0) {
		return EMPTY; // cannot be: record_next gives up on a record before
	}
	consume(stream, len);
	*bytes += len;
	return MORE;
}

static enum result take_with_carry(struct stream *stream, size_t len, size_t *bytes)
{
	size_t before = stream->carry.len, done;
	int r;

	if (buf_append(&stream->carry, stream->shared->buffer, len) < 0)
		return EMPTY;
	r = take_records(stream, stream->carry.data, stream->carry.len, &done);
	if (r < 0 || done <= before) { // only the FIFO's part can be left where it is
		stream->carry.len = before;
		stream->carry.data[before] = '\0';
		if (r < 0) {
			pause_reading(stream);
			return PAUSED;
		}
		return take_piece(stream, len, bytes);
	}
	consume(stream, done - before);
	*bytes += done - before;
	buf_free(&stream->carry);
	return MORE;
}

static enum result read_some(struct stream *stream, size_t *bytes)
{
	char *data = stream->shared->buffer;
	size_t len, done;
	int r = duplicate(stream->shared, stream->fd, data, CHUNK, &len);

	if (r < 0)
		return r == -EAGAIN ? EMPTY : ENDED;
	if (len == 0)
		return ENDED;
	if (stream->again) {
		stream->again = false;
		if (spool_last_matches(stream->spool, stream->number, data, len, &done)) {
			consume(stream, done);
			return MORE;
		}
	}
	if (stream->carry.len > 0)
		return take_with_carry(stream, len, bytes);
	r = take_records(stream, data, len, &done);
	CRASH_POINT("stream.appended");
	consume(stream, done);
	CRASH_POINT("stream.consumed");
	*bytes += done;
	if (r < 0) {
		pause_reading(stream);
		return PAUSED;
	}
	end_pause(stream);
	return done > 0 ? MORE : take_piece(stream, len, bytes);
}

// Copies what is in the FIFO, at most max bytes, without taking it out. 0 with *len 0: its end.
static int duplicate(struct streams *streams, int fd, char *to, size_t max, size_t *len)
{
	ssize_t n;
	size_t have = 0;

	*len = 0;
	do
		n = tee(fd, streams->copy[1], max, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	while (have < (size_t)n) {
		ssize_t got = read(streams->copy[0], to + have, (size_t)n - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO; // cannot be: tee has put them there
		have += (size_t)got;
	}
	*len = have;
	return 0;
}
