#!/usr/bin/env bash
# Builds the firmware, shows that no path to a panic is left in it, runs it in QEMU and compares what it says with the
# golden files; reports flash, static RAM, stack and the instructions of a decision.
#
# Needs the target (rustup target add thumbv7em-none-eabihf), qemu-system-arm, and defmt-print (cargo install
# defmt-print) for the log. `check.sh --overwrite` writes new golden files. CARGO names another cargo.
set -euo pipefail
cd "$(dirname "$0")"
cargo=${CARGO:-cargo}
target=thumbv7em-none-eabihf
# defmt leaves out what is below this level when it compiles.
export DEFMT_LOG=debug
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
overwrite=${1:-}

firmware() { # firmware FEATURES... prints the path of the program
    $cargo build -q -p companion-mcu --bin companion-mcu --profile firmware --target $target "$@" >&2
    echo "${CARGO_TARGET_DIR:-../../target}/$target/firmware/companion-mcu"
}

# 1. Without logging a panic handler that does not link: it links only if nothing reaches it.
cp "$(firmware --no-default-features)" "$build/quiet"
echo "no path to a panic: the firmware links without a panic handler"
python3 sizes.py "$build/quiet"

# 2. With logging, in the emulator.
cp "$(firmware)" "$build/firmware"
timeout 120 qemu-system-arm -M mps2-an386 -icount shift=0 -display none -monitor none \
    -semihosting-config enable=on,target=native -serial "file:$build/uart" \
    -kernel "$build/firmware" >"$build/log.defmt"

# 3. The messages, read by the Linux side's decoder.
${HOST_CARGO:-cargo} run -q -p companion-mcu -- read <"$build/uart" >"$build/messages"
check() { # check NEW GOLDEN
    if [ "$overwrite" = --overwrite ]; then cp "$1" "$2"; fi
    diff -u "$2" "$1" && echo "$2: $(wc -l <"$2") lines, as golden"
}
check "$build/messages" tests/messages.golden

# 4. The log; how many instructions a decision takes depends on the compiler and is shown, not compared.
if command -v defmt-print >/dev/null; then
    defmt-print -e "$build/firmware" --log-format '{L} {s}' <"$build/log.defmt" >"$build/log"
    grep DEBUG "$build/log" | sed 's/^DEBUG //'
    grep -v DEBUG "$build/log" >"$build/log.kept"
    check "$build/log.kept" tests/log.golden
else
    echo "log.golden: skipped, there is no defmt-print"
fi
