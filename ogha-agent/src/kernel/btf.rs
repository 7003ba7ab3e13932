//! Where fields stand in the structures of the running kernel, read from its own type
//! information (BTF, `Documentation/bpf/btf.rst` of the kernel).
//!
//! The Rust compiler emits no relocations that a loader could resolve, so the tracepoint programs
//! get the offsets as constants.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, bail, ensure};

/// The kernel's type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;

/// The kinds of type that have to be told apart; the rest is skipped by [`payload`].
mod kind {
    pub const INT: u32 = 1;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Type information, indexed by type and by name.
pub struct Types {
    data: Vec<u8>,
    strings: usize,
    /// Where each type begins; number 0 is `void`.
    types: Vec<usize>,
    /// The first structure or union of each name.
    structures: HashMap<Vec<u8>, u32>,
}

impl Types {
    /// Reads the kernel's own.
    ///
    /// # Errors
    ///
    /// If the kernel offers none.
    pub fn of_the_kernel() -> anyhow::Result<Self> {
        if !Path::new(VMLINUX).exists() {
            bail!(
                "the kernel has no type information ({VMLINUX} is missing): \
                 ogha needs a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys mounted"
            );
        }
        let data = fs::read(VMLINUX).with_context(|| format!("reading {VMLINUX}"))?;
        Self::parse(data).with_context(|| format!("reading the types in {VMLINUX}"))
    }

    /// Indexes raw BTF in the byte order of this host.
    ///
    /// # Errors
    ///
    /// If it is cut short or of an unknown format.
    pub fn parse(data: Vec<u8>) -> anyhow::Result<Self> {
        ensure!(data.len() >= HEADER && u16_at(&data, 0)? == MAGIC, "this is no BTF");
        let header = u32_at(&data, 4)? as usize;
        let section = |offset, length| -> anyhow::Result<(usize, usize)> {
            let start = header + u32_at(&data, offset)? as usize;
            let end = start + u32_at(&data, length)? as usize;
            ensure!(end <= data.len(), "it is cut short");
            Ok((start, end))
        };
        let (mut at, end) = section(8, 12)?;
        let (strings, _) = section(16, 20)?;
        let mut this = Self { data, strings, types: vec![0], structures: HashMap::new() };
        while at < end {
            let (kind, vlen) = this.kind(at)?;
            if matches!(kind, kind::STRUCT | kind::UNION) {
                let name = this.name(u32_at(&this.data, at)?)?.to_vec();
                let id = u32::try_from(this.types.len())?;
                this.structures.entry(name).or_insert(id);
            }
            this.types.push(at);
            at += TYPE + payload(kind, vlen)?;
        }
        Ok(this)
    }

    /// Bytes from the beginning of `structure` to the field that `path` names, such as `ns.inum`.
    /// Anonymous members on the way are looked into.
    ///
    /// # Errors
    ///
    /// If the structure or the field does not exist, or the field is no whole number of bytes.
    pub fn offset(&self, structure: &str, path: &str) -> anyhow::Result<u32> {
        let mut id = *self
            .structures
            .get(structure.as_bytes())
            .with_context(|| format!("this kernel has no struct {structure}"))?;
        let mut bits = 0;
        for field in path.split('.') {
            let (offset, of) = self
                .member(id, field.as_bytes())?
                .with_context(|| format!("this kernel's struct {structure} has no field {path}"))?;
            bits += offset;
            id = self.resolve(of)?;
        }
        ensure!(bits % 8 == 0, "{path} of struct {structure} is a bit field");
        Ok(bits / 8)
    }

    /// A type as text, field by field: two that have the same text are the same.
    ///
    /// # Errors
    ///
    /// If it is damaged, or nested too deep.
    pub fn text(&self, id: u32) -> anyhow::Result<String> {
        let mut text = String::new();
        self.write(id, 0, &mut text)?;
        Ok(text)
    }

    fn write(&self, id: u32, depth: usize, text: &mut String) -> anyhow::Result<()> {
        ensure!(depth < 32, "a type is nested too deep");
        if id == 0 {
            text.push_str("void");
            return Ok(());
        }
        let id = self.resolve(id)?;
        let at = self.at(id)?;
        let (kind, vlen) = self.kind(at)?;
        let name = String::from_utf8_lossy(self.name(u32_at(&self.data, at)?)?);
        let size = u32_at(&self.data, at + 8)?;
        match kind {
            kind::ARRAY => {
                text.push('[');
                self.write(u32_at(&self.data, at + TYPE)?, depth + 1, text)?;
                text.push_str(&format!("; {}]", u32_at(&self.data, at + TYPE + 8)?));
            }
            kind::STRUCT | kind::UNION => {
                text.push_str(&format!("{name} {size} {{ "));
                for index in 0..vlen {
                    let member = at + TYPE + index * MEMBER;
                    let field = String::from_utf8_lossy(self.name(u32_at(&self.data, member)?)?);
                    text.push_str(&format!("{field} @{} ", u32_at(&self.data, member + 8)?));
                    self.write(u32_at(&self.data, member + 4)?, depth + 1, text)?;
                    text.push_str(", ");
                }
                text.push('}');
            }
            _ => text.push_str(&format!("{name}:{kind}:{size}")),
        }
        Ok(())
    }

    /// A member's offset in bits and its type.
    fn member(&self, id: u32, name: &[u8]) -> anyhow::Result<Option<(u32, u32)>> {
        let at = self.at(id)?;
        let (kind, vlen) = self.kind(at)?;
        if !matches!(kind, kind::STRUCT | kind::UNION) {
            return Ok(None);
        }
        let has_bit_fields = u32_at(&self.data, at + 4)? >> 31 == 1;
        for index in 0..vlen {
            let member = at + TYPE + index * MEMBER;
            let its_name = self.name(u32_at(&self.data, member)?)?;
            let of = u32_at(&self.data, member + 4)?;
            let offset = u32_at(&self.data, member + 8)?;
            // With bit fields the high byte is the field's width.
            let offset = if has_bit_fields { offset & 0x00ff_ffff } else { offset };
            if its_name == name {
                return Ok(Some((offset, of)));
            }
            if its_name.is_empty()
                && let Some((inner, of)) = self.member(self.resolve(of)?, name)?
            {
                return Ok(Some((offset + inner, of)));
            }
        }
        Ok(None)
    }

    /// What a type is behind its typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> anyhow::Result<u32> {
        for _ in 0..32 {
            let at = self.at(id)?;
            match self.kind(at)?.0 {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = u32_at(&self.data, at + 8)?
                }
                _ => return Ok(id),
            }
        }
        bail!("a type is defined by itself")
    }

    fn at(&self, id: u32) -> anyhow::Result<usize> {
        self.types.get(id as usize).copied().with_context(|| format!("there is no type {id}"))
    }

    /// The kind of a type, and how many members, values or parameters follow it.
    fn kind(&self, at: usize) -> anyhow::Result<(u32, usize)> {
        let info = u32_at(&self.data, at + 4)?;
        Ok((info >> 24 & 0x1f, (info & 0xffff) as usize))
    }

    fn name(&self, offset: u32) -> anyhow::Result<&[u8]> {
        let rest = self.data.get(self.strings + offset as usize..).context("it is cut short")?;
        rest.split(|&byte| byte == 0).next().context("it is cut short")
    }
}

/// Bytes that follow the common part of a type.
fn payload(kind: u32, vlen: usize) -> anyhow::Result<usize> {
    Ok(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * vlen,
        kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
        0..=kind::ENUM64 => 0,
        unknown => bail!("type kind {unknown} is unknown"),
    })
}

fn u16_at(data: &[u8], at: usize) -> anyhow::Result<u16> {
    let bytes = data.get(at..at + 2).context("it is cut short")?;
    Ok(u16::from_ne_bytes(bytes.try_into()?))
}

fn u32_at(data: &[u8], at: usize) -> anyhow::Result<u32> {
    let bytes = data.get(at..at + 4).context("it is cut short")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw BTF in the making.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        fn string(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len();
            self.strings.extend(name.bytes().chain([0]));
            at as u32
        }

        fn words(&mut self, words: &[u32]) {
            self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        }

        /// `info` holds the kind, the number of members and the flag for bit fields.
        fn structure(&mut self, name: &str, flag: u32, members: &[(&str, u32, u32)]) {
            let name = self.string(name);
            let info = flag << 31 | kind::STRUCT << 24 | members.len() as u32;
            self.words(&[name, info, 64]);
            for (member, of, offset) in members {
                let member = self.string(member);
                self.words(&[member, *of, *offset]);
            }
        }

        fn build(self) -> Vec<u8> {
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            let mut data = Vec::new();
            data.extend(MAGIC.to_ne_bytes());
            data.extend([1, 0]);
            for word in [HEADER as u32, 0, types, types, strings] {
                data.extend(word.to_ne_bytes());
            }
            data.extend(self.types);
            data.extend(self.strings);
            data
        }
    }

    /// An integer (type 1), a structure (2), its typedef (3), and one that holds both (4).
    fn example() -> Vec<u8> {
        let mut builder = Builder::default();
        let int = builder.string("int");
        builder.words(&[int, kind::INT << 24, 4, 32]);
        builder.structure("", 0, &[("first", 1, 0), ("second", 1, 32)]);
        let pair = builder.string("pair_t");
        builder.words(&[pair, kind::TYPEDEF << 24, 2]);
        builder.structure(
            "outer",
            1,
            &[("", 2, 64), ("named", 3, 128), ("bits", 1, 3 << 24 | 195), ("last", 1, 224)],
        );
        builder.build()
    }

    #[test]
    fn fields_are_found_in_named_and_anonymous_members() {
        let types = Types::parse(example()).unwrap();
        for (path, offset) in
            [("first", 8), ("second", 12), ("named", 16), ("named.second", 20), ("last", 28)]
        {
            assert_eq!(types.offset("outer", path).unwrap(), offset, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let types = Types::parse(example()).unwrap();
        for (structure, path) in [("inner", "x"), ("outer", "x"), ("outer", "last.x")] {
            let error = types.offset(structure, path).unwrap_err().to_string();
            assert!(error.contains(structure), "{error}");
        }
        assert!(types.offset("outer", "bits").unwrap_err().to_string().contains("bit field"));
    }

    #[test]
    fn cut_data_is_refused() {
        let whole = example();
        for length in 0..whole.len() {
            assert!(Types::parse(whole[..length].to_vec()).is_err(), "{length}");
        }
    }

    #[test]
    fn the_running_kernel_is_understood() {
        if !Path::new(VMLINUX).exists() {
            return;
        }
        let types = Types::of_the_kernel().unwrap();
        assert!(types.offset("task_struct", "signal").unwrap() > 0);
        assert!(types.offset("sock", "__sk_common.skc_num").unwrap() > 0);
    }
}
