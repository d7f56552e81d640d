//! PTX text to tokens.

use crate::parse_error::ParseError;

/// The smallest pieces of PTX.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TokenKind<'a> {
    /// A name, a directive or a mnemonic with all its modifiers: `%r1`, `.reg`, `ld.global.v4.f32`, `%tid.x`.
    Word(&'a str),
    Integer(u64),
    /// The bits of `0f…`.
    Single(u32),
    /// `0d…` or a decimal fraction.
    Double(f64),
    Text(&'a str),
    /// One of `, ; : { } [ ] ( ) < > + - * / = | ! @ ~ & ^ ?`.
    Mark(char),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind<'a>,
    /// From 1.
    pub(crate) line: usize,
    /// Bytes from the start of the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All tokens of `text`; comments are dropped.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    Lexer { text, bytes: text.as_bytes(), at: 0, line: 1 }.run()
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Result<Vec<Token<'a>>, ParseError> {
        let mut tokens = Vec::new();
        loop {
            self.skip_blanks()?;
            let Some(&byte) = self.bytes.get(self.at) else { return Ok(tokens) };
            let (start, line) = (self.at, self.line);
            let kind = match byte {
                b'"' => self.quoted()?,
                b'0'..=b'9' => self.number()?,
                byte if starts_word(byte) => self.word(),
                byte if b",;:{}[]()<>+-*/=|!@~&^?".contains(&byte) => {
                    self.at += 1;
                    TokenKind::Mark(byte as char)
                }
                _ => {
                    let found = self.text[start..].chars().next().unwrap_or('?');
                    return Err(self.error(start, format!("no PTX token starts with {found:?}")));
                }
            };
            tokens.push(Token { kind, line, start, end: self.at });
        }
    }

    fn error(&self, start: usize, reason: String) -> ParseError {
        let text = self.text[start..].lines().next().unwrap_or("").trim().to_string();
        ParseError { line: self.line, text, reason }
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'\n' {
                self.line += 1;
                self.at += 1;
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if self.bytes[self.at..].starts_with(b"//") {
                self.at += self.bytes[self.at..].iter().position(|&b| b == b'\n').unwrap_or(self.bytes.len() - self.at);
            } else if self.bytes[self.at..].starts_with(b"/*") {
                let Some(length) = self.bytes[self.at + 2..].windows(2).position(|pair| pair == b"*/") else {
                    return Err(self.error(self.at, "the comment has no end".into()));
                };
                let comment = &self.bytes[self.at..self.at + length + 4];
                self.line += comment.iter().filter(|&&b| b == b'\n').count();
                self.at += comment.len();
            } else {
                break;
            }
        }
        Ok(())
    }

    fn quoted(&mut self) -> Result<TokenKind<'a>, ParseError> {
        let start = self.at + 1;
        let Some(length) = self.bytes[start..].iter().position(|&b| b == b'"' || b == b'\n') else {
            return Err(self.error(self.at, "the string has no end".into()));
        };
        if self.bytes[start + length] == b'\n' {
            return Err(self.error(self.at, "the string has no end on its line".into()));
        }
        self.at = start + length + 1;
        Ok(TokenKind::Text(&self.text[start..start + length]))
    }

    /// A colon belongs to the word only as a pair with a letter behind, as in `L1::no_allocate`.
    fn word(&mut self) -> TokenKind<'a> {
        let start = self.at;
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            let qualifier = self.bytes[self.at..].starts_with(b"::")
                && self.bytes.get(self.at + 2).is_some_and(|b| b.is_ascii_alphanumeric());
            if qualifier {
                self.at += 2;
            } else if continues_word(byte) {
                self.at += 1;
            } else {
                break;
            }
        }
        TokenKind::Word(&self.text[start..self.at])
    }

    fn number(&mut self) -> Result<TokenKind<'a>, ParseError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|&b| continues_word(b)) {
            let exponent = matches!(self.bytes[self.at], b'e' | b'E')
                && matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-'))
                && !self.text[start..].starts_with("0x");
            self.at += if exponent { 2 } else { 1 };
        }
        let digits = &self.text[start..self.at];
        number(digits).ok_or_else(|| self.error(start, format!("{digits:?} is not a number")))
    }
}

fn number(digits: &str) -> Option<TokenKind<'static>> {
    let plain = digits.strip_suffix('U').unwrap_or(digits);
    let integer = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(TokenKind::Integer);
    match digits.get(..2) {
        Some("0f" | "0F") => return u32::from_str_radix(&digits[2..], 16).ok().map(TokenKind::Single),
        Some("0d" | "0D") => {
            return u64::from_str_radix(&digits[2..], 16).ok().map(|bits| TokenKind::Double(f64::from_bits(bits)));
        }
        Some("0x" | "0X") => return integer(&plain[2..], 16),
        Some("0b" | "0B") => return integer(&plain[2..], 2),
        _ => {}
    }
    if plain.bytes().all(|b| b.is_ascii_digit()) {
        return if plain.len() > 1 && plain.starts_with('0') { integer(plain, 8) } else { integer(plain, 10) };
    }
    digits.parse().ok().map(TokenKind::Double)
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || b"_$%.".contains(&byte)
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_$%.".contains(&byte)
}
