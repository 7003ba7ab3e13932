//! The command line of `gs_ctl`: a command and short options in any order.

use std::path::PathBuf;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The first word that is no option.
    pub command: String,
    /// `-D`.
    pub data_dir: Option<PathBuf>,
    /// `-M`.
    pub mode: Option<String>,
    /// `-m`: `fast` or `immediate`.
    pub shutdown: Option<String>,
    /// `-b`.
    pub build: Option<String>,
    /// `-t`: rounds of about a second, 60 unless given.
    pub rounds: Option<u32>,
    /// `-T`.
    pub term: Option<u32>,
    /// `-W`.
    pub no_wait: bool,
    /// `-q`: do not start after a build.
    pub quiet: bool,
}

/// What the real tool refuses in any value.
const INVALID: [char; 9] = ['|', ';', '&', '$', '<', '>', '`', '\\', '!'];

impl Options {
    /// # Errors
    /// What the tool says of an option that it does not know, or of a value that it refuses.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(letter) = word.strip_prefix('-').and_then(|rest| rest.chars().next()) else {
                if options.command.is_empty() {
                    options.command.clone_from(word);
                    continue;
                }
                return Err(format!("too many command-line arguments (first is \"{word}\")"));
            };
            if "wWsqf".contains(letter) {
                options.no_wait |= letter == 'W';
                options.quiet |= letter == 'q';
                continue;
            }
            let attached = &word[1 + letter.len_utf8()..];
            let value = match attached {
                "" => words.next().ok_or(format!("option requires an argument -- '{letter}'"))?,
                attached => attached,
            };
            options.take(letter, value)?;
        }
        if options.command.is_empty() {
            return Err("no operation specified".to_owned());
        }
        Ok(options)
    }

    fn take(&mut self, letter: char, value: &str) -> Result<(), String> {
        if let Some(symbol) = value.chars().find(|symbol| INVALID.contains(symbol)) {
            return Err(format!("Error: variable \"{value}\" token invaild symbol \"{symbol}\"."));
        }
        let number = || value.parse().map_err(|_| format!("invalid argument for option -{letter}"));
        match letter {
            'D' => self.data_dir = Some(value.into()),
            'M' => self.mode = Some(value.to_owned()),
            'b' => self.build = Some(value.to_owned()),
            't' => self.rounds = Some(number()?),
            'T' => self.term = Some(number()?),
            'm' => {
                self.shutdown = Some(match value {
                    "f" | "fast" => "fast".to_owned(),
                    "i" | "immediate" => "immediate".to_owned(),
                    _ => return Err(format!(" unrecognized shutdown mode \"{value}\"")),
                });
            }
            // A user, a password, a log file, options of the server, a connector: of no effect here.
            'U' | 'P' | 'l' | 'o' | 'C' | 'r' | 'L' => {}
            _ => return Err(format!("gs_ctl: invalid option -- '{letter}'")),
        }
        Ok(())
    }

    /// `-t`, or its default.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(60)
    }

    /// `-T`, or its default.
    pub(super) fn term(&self) -> u32 {
        self.term.unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_in_any_order_attached_or_not() {
        let options = parse("-D/data failover -t 3 -T5 -W").unwrap();
        assert_eq!(options.command, "failover");
        assert_eq!(options.data_dir, Some("/data".into()));
        assert_eq!((options.rounds(), options.term(), options.no_wait), (3, 5, true));
        assert_eq!(parse("stop -m i").unwrap().shutdown.as_deref(), Some("immediate"));
    }

    #[test]
    fn what_the_tool_refuses() {
        for line in ["", "stop -m smart", "start -Z", "start -D", "start twice", "start -M a;b"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
