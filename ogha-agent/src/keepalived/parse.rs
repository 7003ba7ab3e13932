//! The grammar of `keepalived.conf`: a statement a line, braces around the statements of a block,
//! comments from `#` or `!` on.

use std::fmt;

/// Blocks in blocks in blocks: keepalived itself needs four.
const DEEPEST: usize = 16;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
}

impl Error {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Error {}

/// `key word word`, perhaps with a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub line: usize,
    pub words: Vec<String>,
    pub block: Option<Vec<Self>>,
}

impl Statement {
    /// Its first word; empty of a block that has no name.
    pub fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words behind the first.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The only word behind the first.
    ///
    /// # Errors
    /// There is none, or more.
    pub fn argument(&self) -> Result<&str, Error> {
        match self.arguments() {
            [word] => Ok(word),
            [] => Err(self.error(format!("{} has no value", self.key()))),
            _ => Err(self.error(format!("{} has more than one value", self.key()))),
        }
    }

    /// The statements of its block.
    pub fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::new(self.line, what)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Error> {
    // What is open: the statements of each block so far.
    let mut open: Vec<Vec<Statement>> = vec![Vec::new()];
    for (line, text) in (1..).zip(text.lines()) {
        let mut words = Vec::new();
        for token in tokens(line, text)? {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    close_statement(&mut open, line, &mut words);
                    begin_block(&mut open, line)?;
                }
                Token::Close => {
                    close_statement(&mut open, line, &mut words);
                    end_block(&mut open, line)?;
                }
            }
        }
        close_statement(&mut open, line, &mut words);
    }
    match (open.pop(), open.last().and_then(|outer| outer.last())) {
        (_, Some(begun)) => Err(begun.error(format!("the block {} is not closed", begun.key()))),
        (statements, None) => Ok(statements.unwrap_or_default()),
    }
}

fn close_statement(open: &mut [Vec<Statement>], line: usize, words: &mut Vec<String>) {
    if let (false, Some(block)) = (words.is_empty(), open.last_mut()) {
        block.push(Statement { line, words: std::mem::take(words), block: None });
    }
}

/// A brace belongs to the statement before it, on its line or the one above.
fn begin_block(open: &mut Vec<Vec<Statement>>, line: usize) -> Result<(), Error> {
    let owner = open.last().and_then(|block| block.last());
    if owner.is_none_or(|owner| owner.block.is_some()) {
        return Err(Error::new(line, "a block begins here, and nothing says of what"));
    }
    if open.len() > DEEPEST {
        return Err(Error::new(line, format!("blocks are nested more than {DEEPEST} deep")));
    }
    open.push(Vec::new());
    Ok(())
}

fn end_block(open: &mut Vec<Vec<Statement>>, line: usize) -> Result<(), Error> {
    let block = open.pop().unwrap_or_default();
    match open.last_mut().and_then(|outer| outer.last_mut()) {
        Some(owner) => owner.block = Some(block),
        None => return Err(Error::new(line, "this brace closes no block")),
    }
    Ok(())
}

fn tokens(line: usize, text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut rest = text.chars();
    let mut quoted = false;
    let end = |word: &mut String, tokens: &mut Vec<Token>, quoted: &mut bool| {
        if !word.is_empty() || std::mem::take(quoted) {
            tokens.push(Token::Word(std::mem::take(word)));
        }
        *quoted = false;
    };
    while let Some(c) = rest.next() {
        match c {
            '#' | '!' => break,
            '"' | '\'' => {
                quoted = true;
                let Some((inner, after)) = rest.as_str().split_once(c) else {
                    return Err(Error::new(line, "a quote is not closed"));
                };
                word.push_str(inner);
                rest = after.chars();
            }
            '{' if !word.starts_with('$') => {
                end(&mut word, &mut tokens, &mut quoted);
                tokens.push(Token::Open);
            }
            '}' if !word.starts_with('$') => {
                end(&mut word, &mut tokens, &mut quoted);
                tokens.push(Token::Close);
            }
            c if c.is_whitespace() => end(&mut word, &mut tokens, &mut quoted),
            c => word.push(c),
        }
    }
    end(&mut word, &mut tokens, &mut quoted);
    plain(line, &tokens)?;
    Ok(tokens)
}

/// What keepalived works out before it reads a line is a person's work here.
fn plain(line: usize, tokens: &[Token]) -> Result<(), Error> {
    let words = tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        Token::Open | Token::Close => None,
    });
    for (place, word) in words.enumerate() {
        let what = match (place, word) {
            (_, word) if word.starts_with('$') => "is a definition; write its value out",
            (0, "include" | "includer" | "includem" | "includew" | "includeb") => {
                "names another file; put its text here"
            }
            (0, word) if word.starts_with('@') => "is a condition; keep the lines of this node",
            (0, word) if word.starts_with('~') => "makes several blocks of one; write them out",
            _ => continue,
        };
        return Err(Error::new(line, format!("{word} {what}, and try again")));
    }
    Ok(())
}
