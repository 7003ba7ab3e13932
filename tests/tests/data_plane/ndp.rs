//! Neighbour discovery for the virtual address: what ARP does not know.
