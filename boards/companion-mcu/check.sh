#!/usr/bin/env bash
# Builds the firmware, shows that no path to a panic is left in it, runs it in QEMU and compares what it says with the
# golden files; reports flash, static RAM, stack and the instructions of a decision.
#
# Needs a compiler for the target (rustup target add thumbv7em-none-eabihf). What else is missing is told and what needs
# it is skipped: qemu-system-arm for the run, defmt-print (cargo install defmt-print) for the log. `check.sh --overwrite`
# writes new golden files. CARGO names another cargo for the firmware, HOST_CARGO one for this machine.
set -euo pipefail
cd "$(dirname "$0")"
cargo=${CARGO:-cargo}
target=thumbv7em-none-eabihf
# defmt leaves out what is below this level when it compiles.
export DEFMT_LOG=debug
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
overwrite=${1:-}
# Of the 64 kB that small microcontrollers of this kind have, a quarter.
most_stack=16384

# rustc links with rust-lld, which distributions leave out: any linker for ARM that is there will do.
linker=${CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER:-}
if [ -z "$linker" ]; then
    sysroot=$("${RUSTC:-rustc}" --print sysroot)
    for linker in "$sysroot"/lib/rustlib/*/bin/rust-lld "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/*/lib/rustlib/*/bin/rust-lld \
        rust-lld ld.lld arm-none-eabi-ld; do
        linker=$(command -v "$linker") && break
    done
    [ -n "$linker" ] || { echo "no linker for $target: install lld, or name one in CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER"; exit 1; }
    export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=$linker
    case $linker in */arm-none-eabi-ld) export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_RUSTFLAGS="-C linker-flavor=ld" ;; esac
fi

# Prints the path of the program.
firmware() { # firmware FEATURES...
    $cargo build -q -p companion-mcu --bin companion-mcu --profile firmware --target $target --target-dir "$folder" "$@" >&2 &&
        echo "$folder/$target/firmware/companion-mcu"
}
folder=${CARGO_TARGET_DIR:-../../target}/firmware

# 1. Without logging a panic handler that does not link: it links only if nothing reaches it.
if ! firmware --no-default-features >"$build/path" 2>"$build/errors"; then
    # A distribution's core has no bitcode, which link-time optimisation needs.
    grep -q bitcode "$build/errors" || { cat "$build/errors" >&2; exit 1; }
    echo "link-time optimisation: skipped, this compiler's core library cannot take part in it"
    export CARGO_PROFILE_FIRMWARE_LTO=off
    firmware --no-default-features >"$build/path"
fi
cp "$(cat "$build/path")" "$build/quiet"
echo "no path to a panic: the firmware links without a panic handler"
python3 sizes.py "$build/quiet"

# 2. With logging, in the emulator.
if ! command -v qemu-system-arm >/dev/null; then
    echo "run, messages, instructions and stack: skipped, there is no qemu-system-arm"
    exit 0
fi
cp "$(firmware)" "$build/firmware"
timeout 120 qemu-system-arm -M mps2-an386 -icount shift=0 -display none -monitor none \
    -semihosting-config enable=on,target=native -serial "file:$build/uart" \
    -kernel "$build/firmware" >"$build/log.defmt"

# 3. The messages, read by the Linux side's decoder.
# The compiler for the target may have no standard library for this machine.
host=(env -u RUSTC -u RUSTDOC -u CARGO_PROFILE_FIRMWARE_LTO "${HOST_CARGO:-cargo}")
"${host[@]}" run -q -p companion-mcu -- read <"$build/uart" >"$build/messages"
check() { # check NEW GOLDEN
    if [ "$overwrite" = --overwrite ]; then cp "$1" "$2"; fi
    diff -u "$2" "$1" && echo "$2: $(wc -l <"$2") lines, as golden"
}
check "$build/messages" tests/messages.golden

# 4. The log; how many instructions a decision takes depends on the compiler and is shown, not compared.
if command -v defmt-print >/dev/null; then
    defmt-print -e "$build/firmware" --log-format '{L} {s}' <"$build/log.defmt" >"$build/log"
    grep DEBUG "$build/log" | sed 's/^DEBUG //'
    stack=$(sed -n 's/^DEBUG stack: \([0-9]*\) bytes.*/\1/p' "$build/log")
    [ "${stack:-0}" -gt 0 ] && [ "$stack" -le $most_stack ] || { echo "the stack takes more than $most_stack bytes"; exit 1; }
    grep -v DEBUG "$build/log" >"$build/log.kept"
    check "$build/log.kept" tests/log.golden
else
    echo "log, instructions and stack: skipped, there is no defmt-print"
fi
