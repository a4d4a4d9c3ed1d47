// Splits Docker's event and progress streams into JSON objects.
#include "docker/docker_internal.h"
#include <ctype.h>
#include <errno.h>

int docker_stream_feed(struct docker_stream *stream, const char *data, size_t len,
		       int (*on_object)(json_object *object, void *arg), void *arg)
{
	size_t start = 0; // of the bytes that are not in the buffer yet
	stream->buf.max = DOCKER_STREAM_OBJECT_MAX;
	for (size_t i = 0; i < len; i++) {
		char c = data[i];
		if (stream->depth == 0) {
			start = i;
			if (c == '{')
				stream->depth = 1;
			else if (!isspace((unsigned char)c))
				return -EPROTO;
			continue;
		}
		if (stream->in_string) {
			if (stream->escaped)
				stream->escaped = false;
			else if (c == '\\')
				stream->escaped = true;
			else if (c == '"')
				stream->in_string = false;
			continue;
		}
		if (c == '"')
			stream->in_string = true;
		else if (c == '{' || c == '[')
			stream->depth++;
		else if (c == '}' || c == ']')
			stream->depth--;
		if (stream->depth > 0)
			continue;
		int r = buf_append(&stream->buf, data + start, i + 1 - start);
		if (r < 0)
			return r;
		_cleanup_json_ json_object *object = json_parse(stream->buf.data, stream->buf.len, NULL);
		buf_clear(&stream->buf);
		if (!object)
			return -EPROTO;
		r = on_object(object, arg);
		if (r != 0)
			return r;
	}
	return stream->depth > 0 ? buf_append(&stream->buf, data + start, len - start) : 0;
}

void docker_stream_done(struct docker_stream *stream)
{
	buf_free(&stream->buf);
	*stream = (struct docker_stream){0};
}
