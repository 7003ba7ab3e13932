//! The programs that measure what is not ours: a few instructions each, written by hand.
//!
//! An instruction is 64 bits (RFC 9669 section 3): opcode, registers, offset, immediate.

use ogha_common::maps::PeerKey;

use super::bpf::Jump;

/// The verdict that lets a packet pass.
const XDP_PASS: i32 = 2;
/// `bpf_map_lookup_elem`.
const LOOK_UP: i32 = 1;
/// `bpf_tail_call`.
const TAIL_CALL: i32 = 12;
/// `bpf_ktime_get_boot_ns`.
const BOOT_CLOCK: i32 = 125;

/// Offsets of two fields in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// The register that no call changes, and the one that holds the end of the stack.
const KEPT: u8 = 6;
const STACK: u8 = 10;

/// Words of an entry of the peers' map that a program sets to zero.
#[derive(Clone, Copy)]
pub struct Forget {
    /// The map's descriptor.
    pub map: i32,
    /// Which entry.
    pub key: PeerKey,
    /// Where in it.
    pub words: [i16; 2],
}

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

/// A constant of 64 bits, which takes two instructions; `kind` 1: the map of that descriptor.
const fn set_wide(register: u8, kind: u8, value: u64) -> [u64; 2] {
    [
        instruction(0x18, register, kind, 0, value as i32),
        instruction(0, 0, 0, 0, (value >> 32) as i32),
    ]
}

const fn set_map(register: u8, descriptor: i32) -> [u64; 2] {
    set_wide(register, 1, descriptor as u32 as u64)
}

/// Zeroes a word of 64 bits.
const fn zero(address: u8, offset: i16) -> u64 {
    instruction(0x7a, address, 0, offset, 0)
}

const fn store(address: u8, offset: i16, from: u8) -> u64 {
    instruction(0x7b, address, from, offset, 0)
}

/// Skips `count` instructions if the register is zero.
const fn skip_if_zero(register: u8, count: i16) -> u64 {
    instruction(0x15, register, 0, count, 0)
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

/// Writes `packet` over the packet that is there, which must be as long, forgets what is to be
/// forgotten, and goes on as another program.
pub fn restore(packet: &[u8], forgets: Option<&Forget>, jump: &Jump) -> Vec<u64> {
    let stores = stores(packet);
    let mut code = vec![copy(KEPT, 1)];
    code.extend(forgets.iter().flat_map(|what| forget(what)));
    code.extend([
        load_word(2, KEPT, DATA),
        load_word(3, KEPT, DATA_END),
        copy(4, 2),
        add(4, packet.len() as i32),
        skip_if_greater(4, 3, stores.len() as i16 + 5),
    ]);
    code.extend(stores);
    code.push(copy(1, KEPT));
    code.extend(set_map(2, jump.descriptor()));
    code.extend([set(3, 0), call(TAIL_CALL)]);
    // Reached if the packet is shorter: XDP_ABORTED, which no path returns.
    code.extend([set(0, 0), EXIT]);
    code
}

/// An entry that is not there is left alone: then the path is not taken, and the counters tell.
fn forget(what: &Forget) -> Vec<u64> {
    let head = u64::from(what.key.instance);
    let mut code = Vec::new();
    code.extend(set_wide(2, 0, head));
    code.push(store(STACK, -16, 2));
    code.extend(set_wide(2, 0, what.key.node));
    code.push(store(STACK, -8, 2));
    code.extend(set_map(1, what.map));
    code.extend([copy(2, STACK), add(2, -16), call(LOOK_UP)]);
    code.push(skip_if_zero(0, what.words.len() as i16));
    code.extend(what.words.map(|offset| zero(0, offset)));
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
