// A QEMU plugin (user emulation of aarch64, plugin interface 1 and 2: QEMU 7.2 to 9.0) that counts executed instructions,
// and misses of modelled data caches of two levels. At every sched_yield of the program it writes the counts so far as a
// line to the file named by its argument `counts=`: the program marks with it what it wants to have counted.
// Arguments `l1=BYTES:WAYS` and `l2=BYTES:WAYS` are the caches: lines of 64 bytes, the one used longest ago is replaced,
// a write brings its line in as a read does, nothing is fetched ahead; empty at the first mark.
//
// The few declarations it needs are spelt out, since distributions do not package qemu-plugin.h.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translate_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_cb);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
typedef void (*memory_cb)(unsigned, uint32_t, uint64_t, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_cb, int, int, void *);

int qemu_plugin_version = 1;

enum { ADD_U64 = 0, NO_REGISTERS = 0, READS_AND_WRITES = 3, SCHED_YIELD = 124, LINE_BITS = 6 };
static uint64_t instructions, vector_fma;
static char path[4096];
static int marked; // Caches are empty, and cost little, until the first mark.

struct cache {
    size_t sets, ways;
    uint64_t *lines; // In each set, most recently used first; 0 is no line.
    uint64_t misses;
};
static struct cache l1, l2;

static int configure(struct cache *cache, const char *text) {
    unsigned long bytes, ways;
    if (sscanf(text, "%lu:%lu", &bytes, &ways) != 2 || !ways || !(cache->sets = (bytes >> LINE_BITS) / ways))
        return 0;
    cache->ways = ways;
    cache->lines = calloc(cache->sets * ways, sizeof *cache->lines);
    return cache->lines != NULL;
}

// Whether the line was there; it is now.
static int touch(struct cache *cache, uint64_t line) {
    uint64_t *set = cache->lines + line % cache->sets * cache->ways;
    size_t way = 0;
    while (way < cache->ways - 1 && set[way] != line)
        way++;
    int hit = set[way] == line;
    memmove(set + 1, set, way * sizeof *set);
    set[0] = line;
    cache->misses += !hit;
    return hit;
}

static void access(unsigned cpu, uint32_t info, uint64_t address, void *data) {
    (void)cpu, (void)data;
    if (!marked)
        return;
    uint64_t last = (address + (1u << (info & 15)) - 1) >> LINE_BITS;
    for (uint64_t line = address >> LINE_BITS; line <= last; line++)
        if (!touch(&l1, line))
            touch(&l2, line);
}

// Vector multiply-accumulates (Arm Architecture Reference Manual, C7.2): FMLA on four single-precision lanes by vector and by
// element, on eight half-precision lanes by vector and by element; SDOT on bytes by vector and by element; SMULL and SMLAL of bytes.
static int is_vector_fma(uint32_t word) {
    static const uint32_t masks[][2] = {
        {0xffa0fc00, 0x4e20cc00}, {0xffc0f400, 0x4f801000}, {0xffe0fc00, 0x4e400c00}, {0xffc0f400, 0x4f001000},
        {0xffe0fc00, 0x4e809400}, {0xffc0f400, 0x4f80e000}, {0xbfe0fc00, 0x0e20c000}, {0xbfe0fc00, 0x0e208000},
    };
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        if ((word & masks[i][0]) == masks[i][1])
            return 1;
    return 0;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    size_t length = qemu_plugin_tb_n_insns(block), fma = 0;
    (void)id;
    for (size_t i = 0; i < length; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        fma += is_vector_fma(word);
        if (l1.lines)
            qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), access, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions, length);
    if (fma)
        qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &vector_fma, fma);
}

static void syscall(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                    uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != SCHED_YIELD)
        return;
    marked = 1;
    FILE *file = fopen(path, "a");
    if (!file)
        return;
    fprintf(file, "%llu %llu %llu %llu\n", (unsigned long long)instructions, (unsigned long long)vector_fma,
            (unsigned long long)l1.misses, (unsigned long long)l2.misses);
    fclose(file);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    int caches = 0;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "counts=", 7))
            snprintf(path, sizeof path, "%s", argv[i] + 7);
        else if (!strncmp(argv[i], "l1=", 3))
            caches += configure(&l1, argv[i] + 3);
        else if (!strncmp(argv[i], "l2=", 3))
            caches += configure(&l2, argv[i] + 3);
    }
    if (!*path || (caches != 0 && caches != 2)) {
        fprintf(stderr, "count: expected counts=PATH, and no caches or l1=BYTES:WAYS,l2=BYTES:WAYS\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, syscall);
    return 0;
}
