//! IPv4 and IPv6.

/// Plays each scenario once on IPv4 and once on IPv6.
macro_rules! on_both_versions {
    ($($scenario:ident),+ $(,)?) => {
        mod ipv4 {
            $(#[test] fn $scenario() { super::$scenario(crate::stage::Version::V4); })+
        }
        mod ipv6 {
            $(#[test] fn $scenario() { super::$scenario(crate::stage::Version::V6); })+
        }
    };
}
