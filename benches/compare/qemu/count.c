// A QEMU plugin (user emulation of aarch64, plugin interface 1 and 2: QEMU 7.2 to 9.0) that counts executed instructions.
// At every sched_yield of the program it writes the counts so far as a line to the file named by its argument `counts=`:
// the program marks with it what it wants to have counted.
//
// The few declarations it needs are spelt out, since distributions do not package qemu-plugin.h.
#include <stdint.h>
#include <stdio.h>
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

int qemu_plugin_version = 1;

enum { ADD_U64 = 0, SCHED_YIELD = 124 };
static uint64_t instructions, vector_fma;
static char path[4096];

// FMLA on four single-precision lanes, by vector and by element (Arm Architecture Reference Manual, C7.2).
static int is_vector_fma(uint32_t word) {
    return (word & 0xffa0fc00) == 0x4e20cc00 || (word & 0xffc0f400) == 0x4f801000;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    size_t length = qemu_plugin_tb_n_insns(block), fma = 0;
    (void)id;
    for (size_t i = 0; i < length; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        fma += is_vector_fma(word);
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
    FILE *file = fopen(path, "a");
    if (!file)
        return;
    fprintf(file, "%llu %llu\n", (unsigned long long)instructions, (unsigned long long)vector_fma);
    fclose(file);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "counts=", 7))
            snprintf(path, sizeof path, "%s", argv[i] + 7);
    if (!*path) {
        fprintf(stderr, "count: counts=PATH is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, syscall);
    return 0;
}
