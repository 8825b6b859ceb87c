//! The UART of the MPS2 board (Arm CMSDK APB UART, DDI 0479).

use core::convert::Infallible;

use embedded_io::{ErrorType, Write};

const BASE: usize = 0x4000_4000;
const DATA: usize = BASE;
const STATE: usize = BASE + 0x04;
const CONTROL: usize = BASE + 0x08;
const BAUD_DIVIDER: usize = BASE + 0x10;

/// STATE: the transmit buffer is full.
const TRANSMIT_FULL: u32 = 1;
/// CONTROL: transmit.
const TRANSMIT_ENABLE: u32 = 1;

/// The first UART, transmitting only.
pub(super) struct Uart(());

impl Uart {
    /// Turns the transmitter on, at 115200 baud from the board's 25 MHz.
    pub(super) fn new() -> Self {
        write(BAUD_DIVIDER, 25_000_000 / 115_200);
        write(CONTROL, TRANSMIT_ENABLE);
        Uart(())
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while read(STATE) & TRANSMIT_FULL != 0 {}
            write(DATA, u32::from(*byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn read(register: usize) -> u32 {
    // SAFETY: only called with the registers above, which this board has at these addresses; reading STATE changes
    // nothing. Peripherals can only be reached by volatile access.
    unsafe { (register as *const u32).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: as for `read`; this module alone uses the UART.
    unsafe { (register as *mut u32).write_volatile(value) }
}
