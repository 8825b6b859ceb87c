"""Files made to harm: none may crash, hang or fill the memory."""

from harness import case

# The memory that reading a small file may take, and the address space it is given.
PEAK_MIB, SPACE_MIB = 1000, 6000
SECONDS = 30


def read(check, path, *command):
    result = check.run(*command, seconds=SECONDS, memory_mib=SPACE_MIB)
    check.that(result.peak_mib < PEAK_MIB, f"{path.name}: {command[0]} took {result.peak_mib:.0f} MiB")
    check.that(result.code in (0, 1, 2), f"{path.name}: {command[0]} ended with {result.code}")
    return result


@case("80-fuzz-onnx", "hostile ONNX files")
def onnx(check):
    picture = check.reference("p32.png")
    for path in sorted(check.file("fuzz").glob("*.onnx")):
        inspected = read(check, path, "inspect", path)
        if inspected.code == 0:
            result = read(check, path, "classify", picture, "--model", path)
            check.that(result.code == 0, f"{path.name}: inspect is content, classify ends with {result.code}")


@case("81-fuzz-bundles", "hostile bundles")
def bundles(check):
    picture = check.reference("p32.png")
    for path in sorted(check.file("fuzz").glob("*.dynp")):
        read(check, path, "inspect", path)
        read(check, path, "classify", picture, "--model", path)


@case("82-fuzz-checkpoints", "hostile checkpoints")
def checkpoints(check):
    for path in sorted(check.file("fuzz").glob("*.pth")):
        read(check, path, "import", "-o", check.folder / "x.onnx", path)
