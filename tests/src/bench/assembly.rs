//! The programs that measure what is not ours: a few instructions each, written by hand.
//!
//! An instruction is 64 bits (RFC 9669 section 3): opcode, registers, offset, immediate.

use super::bpf::Jump;

/// The verdict that lets a packet pass.
const XDP_PASS: i32 = 2;
/// `bpf_tail_call`.
const TAIL_CALL: i32 = 12;
/// `bpf_ktime_get_boot_ns`.
const BOOT_CLOCK: i32 = 125;

/// Offsets of two fields in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

const fn instruction(opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let low = [opcode, from << 4 | to];
    let [a, b] = offset.to_ne_bytes();
    let [c, d, e, f] = immediate.to_ne_bytes();
    u64::from_ne_bytes([low[0], low[1], a, b, c, d, e, f])
}

const fn set(register: u8, value: i32) -> u64 {
    instruction(0xb7, register, 0, 0, value)
}

const fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

const fn add(register: u8, value: i32) -> u64 {
    instruction(0x07, register, 0, 0, value)
}

const fn load_word(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

const fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

/// Skips `count` instructions if `left > right`.
const fn skip_if_greater(left: u8, right: u8, count: i16) -> u64 {
    instruction(0x2d, left, right, count, 0)
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

/// Lets every packet pass: what it takes is the harness.
pub fn pass() -> Vec<u64> {
    vec![set(0, XDP_PASS), EXIT]
}

/// Reads the clock of the lease and lets the packet pass.
pub fn clock() -> Vec<u64> {
    vec![call(BOOT_CLOCK), set(0, XDP_PASS), EXIT]
}

/// Writes `packet` over the packet that is there, which must be as long, and goes on as another
/// program.
pub fn restore(packet: &[u8], jump: &Jump) -> Vec<u64> {
    let stores = stores(packet);
    let mut code = vec![
        load_word(2, 1, DATA),
        load_word(3, 1, DATA_END),
        copy(4, 2),
        add(4, packet.len() as i32),
        skip_if_greater(4, 3, stores.len() as i16 + 4),
    ];
    code.extend(stores);
    code.extend([
        // The address of a map takes two instructions.
        instruction(0x18, 2, 1, 0, jump.descriptor()),
        0,
        set(3, 0),
        call(TAIL_CALL),
    ]);
    // Reached if the packet is shorter: XDP_ABORTED, which no path returns.
    code.extend([set(0, 0), EXIT]);
    code
}

/// As words of 32 bits and a rest of 16, which the program that follows reads no wider.
fn stores(packet: &[u8]) -> Vec<u64> {
    assert!(packet.len().is_multiple_of(2), "the frames of the benchmark have an even length");
    let store = |(index, bytes): (usize, &[u8])| {
        let offset = (4 * index) as i16;
        match *bytes {
            [a, b, c, d] => instruction(0x62, 2, 0, offset, i32::from_ne_bytes([a, b, c, d])),
            [a, b, ..] => instruction(0x6a, 2, 0, offset, i32::from(i16::from_ne_bytes([a, b]))),
            _ => unreachable!("the length is even"),
        }
    };
    packet.chunks(4).enumerate().map(store).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(set(0, 2).to_ne_bytes(), [0xb7, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(skip_if_greater(4, 3, 5).to_ne_bytes(), [0x2d, 0x34, 5, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_byte_of_a_packet_is_stored_once() {
        let code = stores(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(code[0].to_ne_bytes(), [0x62, 2, 0, 0, 1, 2, 3, 4]);
        assert_eq!(code[1].to_ne_bytes(), [0x6a, 2, 4, 0, 5, 6, 0, 0]);
    }
}
