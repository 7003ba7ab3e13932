//! `keepalived.conf` read, and written again as `ogha.toml` as far as it can be.
//!
//! What only a person knows is left as a blank, [`BLANK`], that `check` refuses; what has no
//! counterpart stands in a comment with the reason. Reading is pure: no file, no host.

mod instance;
mod parse;
mod reasons;
mod render;
#[cfg(test)]
mod tests;

pub use parse::Error;

/// What a person must fill in. No key takes it as it is.
pub const BLANK: &str = "FILL IN";

/// The text of an `ogha.toml` that says what this `keepalived.conf` says.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn import(text: &str) -> Result<String, Error> {
    let statements = parse::parse(text)?;
    let version = instance::default_version(&statements)?;
    let mut instances = Vec::new();
    let mut left = Vec::new();
    for statement in &statements {
        match statement.key() {
            "vrrp_instance" => instances.push(instance::read(statement, version)?),
            "global_defs" => {
                for inner in statement.inner() {
                    left.extend(reasons::of_global(inner));
                }
            }
            _ => left.push(reasons::of_block(statement)),
        }
    }
    if instances.is_empty() {
        return Err(Error::new(1, "there is no vrrp_instance in this file"));
    }
    Ok(render::render(&instances, &left))
}
