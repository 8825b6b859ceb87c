//! What the images of the boards need beside the kernel.

/// What an image of a board needs beside the kernel.
pub(super) struct Layout {
    pub(super) id: &'static str,
    /// Loaded at the start, where the kernel does not have them built in.
    pub(super) modules: &'static [&'static str],
    /// Not loaded, but at hand.
    pub(super) spare: &'static [&'static str],
    /// Device trees below the kernel's folder.
    pub(super) device_trees: &'static [&'static str],
    /// Whether the Raspberry Pi's firmware starts the board.
    pub(super) firmware: bool,
}

/// Modules of every image: file systems of the card.
pub(super) const CARD: [&str; 5] = ["vfat", "nls_cp437", "nls_ascii", "ext4", "crc32c_generic"];
/// SD hosts and the regulators of their cards, I2C, watchdog, USB hosts and cameras, temperature and clock.
const PI: &[&str] = &[
    "fixed",
    "gpio_regulator",
    "mmc_block",
    "bcm2835",
    "sdhci_iproc",
    "i2c_bcm2835",
    "i2c_dev",
    "bcm2835_wdt",
    "reset_raspberrypi",
    "xhci_pci",
    "dwc2",
    "uvcvideo",
    "bcm2711_thermal",
    "bcm2835_thermal",
    "raspberrypi_cpufreq",
];
/// The boards that images are made for.
pub(super) const LAYOUTS: [Layout; 4] = [
    Layout {
        id: "qemu-virt",
        modules: &["virtio_pci", "virtio_mmio", "virtio_blk", "i2c_dev"],
        spare: &["vivid"],
        device_trees: &[],
        firmware: false,
    },
    Layout {
        id: "raspberry-pi-zero-2-w",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2837-rpi-zero-2-w.dtb"],
        firmware: true,
    },
    Layout {
        id: "raspberry-pi-3",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2837-rpi-3-b.dtb", "broadcom/bcm2837-rpi-3-b-plus.dtb"],
        firmware: true,
    },
    Layout {
        id: "raspberry-pi-4",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2711-rpi-4-b.dtb"],
        firmware: true,
    },
];
