#include "logging/forward.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <msgpack.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <zlib.h>

#define HEADER_MAX 5    // of a msgpack string, array or binary value
#define RECORD_NAMES 96 // more than source, log, time and the names and values of a partial take, without log and id
#define DEPTH_MAX 8     // of an answer: HELO and PONG have 2
#define DIGEST_HEX 128  // SHA-512

struct pairs { // encoded names and values, and how many
	struct buf bytes;
	size_t count;
};
struct forward_fields {
	struct pairs whole, piece; // of a line, of a piece of a long line
	bool own_source, own_log;  // not overwritten by an attribute
};

struct part { // of what a digest is made from
	const void *data;
	size_t len;
};

static void put_pair(msgpack_packer *packer, const char *name, const char *value, size_t len);
static void put_pieces(msgpack_packer *packer, const struct record *record);
static void put_time(msgpack_packer *packer, int64_t time_ns, bool sub_second);
static void put_text(msgpack_packer *packer, const char *text);
static msgpack_packer packer_to(struct buf *out);
static void encode_pairs(struct pairs *pairs, const char *container_id, const char *container_name,
			 const struct json_map *attributes, bool piece);
static void put_head(const struct forward_chunk *chunk, const char *tag, size_t entries, struct buf *head);
static void compress_entries(struct forward_chunk *chunk);
static int walk(const unsigned char *data, size_t len, unsigned depth, size_t *used, struct error *err);
static int decode_object(const msgpack_object *object, struct forward_answer *answer, struct error *err);
static struct part text_part(const char *text);
static void digest(const struct part *parts, size_t count, char hex[DIGEST_HEX + 1]);

struct forward_fields *forward_fields_new(const char *container_id, const char *container_name,
					  const struct json_map *attributes)
{
	struct forward_fields *fields = xcalloc(1, sizeof(*fields));

	encode_pairs(&fields->whole, container_id, container_name, attributes, false);
	encode_pairs(&fields->piece, container_id, container_name, attributes, true);
	fields->own_source = !json_map_get(attributes, "source");
	fields->own_log = !json_map_get(attributes, "log");
	return fields;
}

struct forward_fields *forward_fields_free(struct forward_fields *fields)
{
	if (fields) {
		buf_free(&fields->whole.bytes);
		buf_free(&fields->piece.bytes);
	}
	free(fields);
	return NULL;
}

size_t forward_fields_bound(const struct forward_fields *fields, size_t len)
{
	size_t pairs =
		fields->whole.bytes.len > fields->piece.bytes.len ? fields->whole.bytes.len : fields->piece.bytes.len;
	return pairs + RECORD_NAMES + len;
}

void forward_chunk_begin(struct forward_chunk *chunk, enum forward_mode mode, const char *tag)
{
	*chunk = (struct forward_chunk){.mode = mode, .room = 1 + HEADER_MAX + strlen(tag) + HEADER_MAX};
	_cleanup_free_ char *room = xcalloc(1, chunk->room);
	buf_append(&chunk->bytes, room, chunk->room);
}

void forward_chunk_add(struct forward_chunk *chunk, const struct forward_fields *fields, const struct record *record,
		       bool sub_second)
{
	const struct pairs *pairs = record->partial ? &fields->piece : &fields->whole;
	msgpack_packer packer = packer_to(&chunk->bytes);

	msgpack_pack_array(&packer, 2);
	put_time(&packer, record->time_ns, sub_second);
	msgpack_pack_map(&packer, pairs->count + fields->own_source + fields->own_log + (record->partial ? 4 : 0));
	buf_append(&chunk->bytes, pairs->bytes.data, pairs->bytes.len);
	if (fields->own_source) {
		const char *source = record->source == RECORD_STDOUT ? "stdout" : "stderr";
		put_pair(&packer, "source", source, strlen(source));
	}
	if (fields->own_log)
		put_pair(&packer, "log", record->line, record->len);
	if (record->partial)
		put_pieces(&packer, record);
	chunk->count++;
}

const char *forward_chunk_end(struct forward_chunk *chunk, const char *tag, const char *id, size_t *len)
{
	bool alone = chunk->mode == FORWARD_LISTS && chunk->count == 1;
	struct buf head = {0};

	if (chunk->mode == FORWARD_GZIP)
		compress_entries(chunk);
	size_t entries = chunk->bytes.len - chunk->room;
	msgpack_packer packer = packer_to(&chunk->bytes);
	msgpack_pack_map(&packer, !alone + (chunk->mode == FORWARD_GZIP) + (id != NULL));
	if (!alone) {
		put_text(&packer, "size");
		msgpack_pack_uint32(&packer, chunk->count);
	}
	if (chunk->mode == FORWARD_GZIP)
		put_pair(&packer, "compressed", "gzip", 4);
	if (id)
		put_pair(&packer, "chunk", id, strlen(id));
	put_head(chunk, tag, entries, &head);
	// A record alone is part of the outer array: its own array's first byte goes.
	size_t start = chunk->room + alone - head.len;
	memcpy(chunk->bytes.data + start, head.data, head.len);
	buf_free(&head);
	*len = chunk->bytes.len - start;
	return chunk->bytes.data + start;
}

void forward_chunk_free(struct forward_chunk *chunk)
{
	buf_free(&chunk->bytes);
	*chunk = (struct forward_chunk){0};
}

void forward_chunk_id(const char *container_id, uint64_t first_position, uint64_t count, char id[FORWARD_ID_LEN + 1])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	char text[256];
	int len = snprintf(text, sizeof(text), "%.64s %" PRIu64 " %" PRIu64, container_id, first_position, count);

	if (EVP_Digest(text, (size_t)len, sum, NULL, EVP_sha256(), NULL) != 1)
		abort();
	EVP_EncodeBlock((unsigned char *)id, sum, 16);
}

int forward_answer_decode(const void *data, size_t len, size_t *used, struct forward_answer *answer, struct error *err)
{
	msgpack_unpacked unpacked;
	size_t object = 0, offset = 0;
	int r = walk(data, len, 0, &object, err);

	*answer = (struct forward_answer){.kind = FORWARD_OTHER};
	*used = 0;
	if (r <= 0)
		return r;
	// What walk has found whole and small cannot make msgpack-c allocate much.
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, data, object, &offset) == MSGPACK_UNPACK_SUCCESS && offset == object)
		r = decode_object(&unpacked.data, answer, err);
	else
		r = error_set(err, EBADMSG, "an answer of %zu bytes is no msgpack object", object);
	msgpack_unpacked_destroy(&unpacked);
	if (r < 0)
		return r;
	*used = object;
	return 1;
}

int forward_ping(const struct forward_login *login, const struct forward_answer *helo, const char *salt,
		 struct buf *out, struct error *err)
{
	char key_digest[DIGEST_HEX + 1], password_digest[DIGEST_HEX + 1] = "";
	const char *username = login->username ? login->username : "",
		   *password = login->password ? login->password : "";
	msgpack_packer packer = packer_to(out);

	if (helo->auth.len > 0) {
		if (!login->username)
			return error_set(err, EACCES, "the server wants a user name and a password, and none are set");
		const struct part parts[] = {
			{helo->auth.data, helo->auth.len}, text_part(username), text_part(password)};
		digest(parts, ARRAY_SIZE(parts), password_digest);
	}
	const struct part parts[] = {text_part(salt),
				     text_part(login->hostname),
				     {helo->nonce.data, helo->nonce.len},
				     text_part(login->shared_key)};
	digest(parts, ARRAY_SIZE(parts), key_digest);
	msgpack_pack_array(&packer, 6);
	put_text(&packer, "PING");
	put_text(&packer, login->hostname);
	put_text(&packer, salt);
	put_text(&packer, key_digest);
	put_text(&packer, helo->auth.len > 0 ? username : "");
	put_text(&packer, password_digest);
	return 0;
}

int forward_check_pong(const struct forward_login *login, const struct forward_answer *helo,
		       const struct forward_answer *pong, const char *salt, struct error *err)
{
	const struct part parts[] = {text_part(salt),
				     text_part(pong->hostname),
				     {helo->nonce.data, helo->nonce.len},
				     text_part(login->shared_key)};
	char expected[DIGEST_HEX + 1];

	if (!pong->ok)
		return error_set(err, EACCES, "the server refuses the login: %s", pong->reason);
	if (strcmp(pong->hostname, login->hostname) == 0)
		return error_set(err, EACCES, "the server has our own host name, %s", pong->hostname);
	digest(parts, ARRAY_SIZE(parts), expected);
	if (strlen(pong->digest) != DIGEST_HEX || CRYPTO_memcmp(pong->digest, expected, DIGEST_HEX) != 0)
		return error_set(err, EACCES, "the server %s does not know the shared key", pong->hostname);
	return 0;
}

static int append(void *out, const char *data, size_t len)
{
	return buf_append(out, data, len);
}

static msgpack_packer packer_to(struct buf *out)
{
	return (msgpack_packer){.data = out, .callback = append};
}

static void put_text(msgpack_packer *packer, const char *text)
{
	msgpack_pack_str_with_body(packer, text, strlen(text));
}

static void put_pair(msgpack_packer *packer, const char *name, const char *value, size_t len)
{
	put_text(packer, name);
	msgpack_pack_str_with_body(packer, value, len);
}

// As Docker's client has it, seconds are a signed 32-bit number as long as they fit (§5.3).
static void put_time(msgpack_packer *packer, int64_t time_ns, bool sub_second)
{
	int64_t second = time_ns / 1000000000, rest = time_ns % 1000000000;

	if (rest < 0) {
		second--;
		rest += 1000000000;
	}
	if (sub_second) {
		uint32_t words[2] = {htonl((uint32_t)second), htonl((uint32_t)rest)};
		msgpack_pack_ext_with_body(packer, words, sizeof(words), 0);
	} else if (second >= INT32_MIN && second <= INT32_MAX) {
		msgpack_pack_fix_int32(packer, (int32_t)second);
	} else {
		msgpack_pack_fix_int64(packer, second);
	}
}

static void put_pieces(msgpack_packer *packer, const struct record *record)
{
	char ordinal[16];

	put_pair(packer, "partial_message", "true", 4);
	put_pair(packer, "partial_id", record->id, record->id_len);
	put_pair(packer, "partial_ordinal", ordinal, (size_t)snprintf(ordinal, sizeof(ordinal), "%d", record->ordinal));
	put_pair(packer, "partial_last", record->last ? "true" : "false", record->last ? 4 : 5);
}

// Attributes win over the fields of every record, those of pieces over attributes (§5.2).
static void encode_pairs(struct pairs *pairs, const char *container_id, const char *container_name,
			 const struct json_map *attributes, bool piece)
{
	static const char *const of_pieces[] = {"partial_message", "partial_id", "partial_ordinal", "partial_last"};
	const struct json_pair own[] = {{(char *)"container_id", (char *)container_id},
					{(char *)"container_name", (char *)container_name}};
	msgpack_packer packer = packer_to(&pairs->bytes);

	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (json_map_get(attributes, own[i].name))
			continue;
		put_pair(&packer, own[i].name, own[i].value, strlen(own[i].value));
		pairs->count++;
	}
	for (size_t i = 0; i < attributes->count; i++) {
		const struct json_pair *pair = &attributes->items[i];
		bool overwritten = false;
		for (size_t k = 0; piece && k < ARRAY_SIZE(of_pieces); k++)
			overwritten = overwritten || strcmp(pair->name, of_pieces[k]) == 0;
		if (overwritten)
			continue;
		put_pair(&packer, pair->name, pair->value, strlen(pair->value));
		pairs->count++;
	}
}

// What stands before the entries.
static void put_head(const struct forward_chunk *chunk, const char *tag, size_t entries, struct buf *head)
{
	msgpack_packer packer = packer_to(head);
	bool alone = chunk->mode == FORWARD_LISTS && chunk->count == 1;

	msgpack_pack_array(&packer, alone ? 4 : 3);
	put_text(&packer, tag);
	if (chunk->mode != FORWARD_LISTS)
		msgpack_pack_bin(&packer, entries);
	else if (!alone)
		msgpack_pack_array(&packer, chunk->count);
}

static void compress_entries(struct forward_chunk *chunk)
{
	size_t len = chunk->bytes.len - chunk->room;
	z_stream stream = {.next_in = (Bytef *)chunk->bytes.data + chunk->room, .avail_in = (uInt)len};
	struct buf packed = {0};

	if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + 16 /* gzip */, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	size_t bound = deflateBound(&stream, (uLong)len);
	_cleanup_free_ char *out = xmalloc(bound);
	stream.next_out = (Bytef *)out;
	stream.avail_out = (uInt)bound;
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
		abort();
	buf_append(&packed, chunk->bytes.data, chunk->room);
	buf_append(&packed, out, bound - stream.avail_out);
	deflateEnd(&stream);
	buf_free(&chunk->bytes);
	chunk->bytes = packed;
}

// --- answers ---
enum walk_kind { WALK_BYTES, WALK_ARRAY, WALK_MAP };

// Takes apart the first bytes of an object: how many they are, and how many bytes or objects follow. False: no such type.
static bool walk_header(unsigned char type, unsigned *length_bytes, size_t *count, enum walk_kind *kind)
{
	static const unsigned char fixed[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17}; // 0xca to 0xd8

	*length_bytes = 0;
	*count = 0;
	*kind = WALK_BYTES;
	if (type < 0x80 || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3)
		return true;
	if (type < 0xa0) {
		*kind = type < 0x90 ? WALK_MAP : WALK_ARRAY;
		*count = type & 15;
	} else if (type < 0xc0) {
		*count = type & 31;
	} else if (type >= 0xc4 && type <= 0xc9) { // binary and extensions, whose type is a byte more
		*length_bytes = 1u << ((type - 0xc4) % 3);
		*count = type >= 0xc7;
	} else if (type >= 0xca && type <= 0xd8) {
		*count = fixed[type - 0xca];
	} else if (type >= 0xd9 && type <= 0xdb) {
		*length_bytes = 1u << (type - 0xd9);
	} else if (type >= 0xdc) {
		*kind = type < 0xde ? WALK_ARRAY : WALK_MAP;
		*length_bytes = type & 1 ? 4 : 2;
	}
	return type != 0xc1;
}

// Whether a whole object is there that is not larger or deeper than an answer may be. 1, 0: more bytes needed, or an errno.
static int walk(const unsigned char *data, size_t len, unsigned depth, size_t *used, struct error *err)
{
	unsigned length_bytes;
	enum walk_kind kind;
	size_t count, at = 1;

	if (len == 0)
		return 0;
	if (!walk_header(data[0], &length_bytes, &count, &kind))
		return error_set(err, EBADMSG, "an answer has the byte 0xc1, which is no msgpack");
	if (depth >= DEPTH_MAX)
		return error_set(err, EMSGSIZE, "an answer is nested deeper than %d", DEPTH_MAX);
	if (len < 1 + length_bytes)
		return 0;
	for (size_t declared = 0; length_bytes > 0; length_bytes--) {
		declared = declared << 8 | data[at++];
		if (length_bytes == 1)
			count += declared;
	}
	if (count > FORWARD_ANSWER_MAX)
		return error_set(err, EMSGSIZE, "an answer of %zu bytes or parts; at most %zu are accepted", count,
				 FORWARD_ANSWER_MAX);
	if (kind == WALK_BYTES) {
		at += count;
		count = 0;
	} else if (kind == WALK_MAP) {
		count *= 2;
	}
	for (; count > 0 && at < len && at <= FORWARD_ANSWER_MAX; count--) {
		size_t part;
		int r = walk(data + at, len - at, depth + 1, &part, err);
		if (r <= 0)
			return r;
		at += part;
	}
	if (at > FORWARD_ANSWER_MAX)
		return error_set(err, EMSGSIZE, "an answer of %zu bytes; at most %zu are accepted", at,
				 FORWARD_ANSWER_MAX);
	*used = at;
	return count == 0 && at <= len;
}

static bool is_text(const msgpack_object *object, const char **data, size_t *len)
{
	bool text = object->type == MSGPACK_OBJECT_STR;

	if (!text && object->type != MSGPACK_OBJECT_BIN)
		return false;
	*data = text ? object->via.str.ptr : object->via.bin.ptr;
	*len = text ? object->via.str.size : object->via.bin.size;
	return true;
}

static bool is_named(const msgpack_object *object, const char *name)
{
	const char *data;
	size_t len;

	return is_text(object, &data, &len) && len == strlen(name) && memcmp(data, name, len) == 0;
}

static bool take_bytes(const msgpack_object *object, struct forward_bytes *bytes)
{
	const char *data;
	size_t len;

	if (object->type == MSGPACK_OBJECT_NIL)
		return true;
	if (!is_text(object, &data, &len) || len > sizeof(bytes->data))
		return false;
	memcpy(bytes->data, data, len);
	bytes->len = len;
	return true;
}

// Longer ones are cut: they are for the log, or equal nothing.
static bool take_text(const msgpack_object *object, char *out, size_t size)
{
	const char *data;
	size_t len;

	if (object->type == MSGPACK_OBJECT_NIL)
		return true;
	if (!is_text(object, &data, &len))
		return false;
	if (len >= size)
		len = size - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = data[i] >= ' ' && data[i] <= '~' ? data[i] : '?';
	out[len] = '\0';
	return true;
}

static int decode_helo(const msgpack_object_array *array, struct forward_answer *answer, struct error *err)
{
	answer->kind = FORWARD_HELO;
	answer->keepalive = true;
	if (array->size < 2 || array->ptr[1].type != MSGPACK_OBJECT_MAP)
		return error_set(err, EBADMSG, "the server's HELO has no options");
	const msgpack_object_map *options = &array->ptr[1].via.map;
	for (uint32_t i = 0; i < options->size; i++) {
		const msgpack_object *name = &options->ptr[i].key, *value = &options->ptr[i].val;
		if (is_named(name, "nonce") && !take_bytes(value, &answer->nonce))
			return error_set(err, EBADMSG, "the nonce of the server's HELO is no text of at most %zu bytes",
					 sizeof(answer->nonce.data));
		if (is_named(name, "auth") && !take_bytes(value, &answer->auth))
			return error_set(err, EBADMSG, "auth of the server's HELO is no text of at most %zu bytes",
					 sizeof(answer->auth.data));
		if (is_named(name, "keepalive") && value->type == MSGPACK_OBJECT_BOOLEAN)
			answer->keepalive = value->via.boolean;
	}
	return 0;
}

static int decode_pong(const msgpack_object_array *array, struct forward_answer *answer, struct error *err)
{
	answer->kind = FORWARD_PONG;
	if (array->size < 5 || array->ptr[1].type != MSGPACK_OBJECT_BOOLEAN)
		return error_set(err, EBADMSG, "the server's PONG is not of true or false and three texts");
	answer->ok = array->ptr[1].via.boolean;
	if (!take_text(&array->ptr[2], answer->reason, sizeof(answer->reason)) ||
	    !take_text(&array->ptr[3], answer->hostname, sizeof(answer->hostname)) ||
	    !take_text(&array->ptr[4], answer->digest, sizeof(answer->digest)))
		return error_set(err, EBADMSG, "the server's PONG has a text that is none");
	return 0;
}

static int decode_object(const msgpack_object *object, struct forward_answer *answer, struct error *err)
{
	const msgpack_object_array *array = &object->via.array;

	if (object->type == MSGPACK_OBJECT_ARRAY && array->size > 0 && is_named(&array->ptr[0], "HELO"))
		return decode_helo(array, answer, err);
	if (object->type == MSGPACK_OBJECT_ARRAY && array->size > 0 && is_named(&array->ptr[0], "PONG"))
		return decode_pong(array, answer, err);
	for (uint32_t i = 0; object->type == MSGPACK_OBJECT_MAP && i < object->via.map.size; i++) {
		const msgpack_object_kv *pair = &object->via.map.ptr[i];
		if (!is_named(&pair->key, "ack"))
			continue;
		const char *id;
		size_t len;
		answer->kind = FORWARD_ACK;
		if (is_text(&pair->val, &id, &len) && len == FORWARD_ID_LEN)
			take_text(&pair->val, answer->ack, sizeof(answer->ack));
	}
	return 0;
}

static struct part text_part(const char *text)
{
	return (struct part){text, strlen(text)};
}

static void digest(const struct part *parts, size_t count, char hex[DIGEST_HEX + 1])
{
	unsigned char sum[DIGEST_HEX / 2];
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (!context || EVP_DigestInit_ex(context, EVP_sha512(), NULL) != 1)
		abort();
	for (size_t i = 0; i < count; i++)
		EVP_DigestUpdate(context, parts[i].data, parts[i].len);
	EVP_DigestFinal_ex(context, sum, NULL);
	EVP_MD_CTX_free(context);
	for (size_t i = 0; i < sizeof(sum); i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}
