//! Text for people's eyes: no wider than their terminal, broken between words, and without anything
//! that a terminal would obey.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use console::{Term, measure_text_width};
use indicatif::TermLike;

/// Columns that lines of work leave free at their right: a terminal writes `^C` where the cursor is, and
/// in the last column that would begin a row that nobody counts.
const MARGIN: u16 = 3;

/// The terminal behind stderr, without its last columns. Lines of work are written one behind the other,
/// each filled up to the width, where a terminal would begin a row by itself: here that is done for it.
#[derive(Debug)]
pub struct Margined {
    term: Term,
    /// Columns written of the row.
    column: AtomicUsize,
}

impl Margined {
    /// Draws when it is flushed, so that a redraw is not seen half done.
    pub fn stderr() -> Self {
        Self {
            term: Term::buffered_stderr(),
            column: AtomicUsize::new(0),
        }
    }

    /// Columns that it has.
    pub fn columns() -> usize {
        columns() - usize::from(MARGIN)
    }
}

impl TermLike for Margined {
    fn width(&self) -> u16 {
        self.term.size().1.saturating_sub(MARGIN).max(1)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.column.store(0, Ordering::Relaxed);
        self.term.write_line("")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text == "\r" {
            self.column.store(0, Ordering::Relaxed);
            return self.term.write_str(text);
        }
        let width = measure_text_width(text);
        let before = self.column.fetch_add(width, Ordering::Relaxed);
        if width > 0 && before >= usize::from(self.width()) {
            self.column.store(width, Ordering::Relaxed);
            self.term.write_line("")?;
        }
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.column.store(0, Ordering::Relaxed);
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.term.flush()
    }
}

/// Columns of the terminal behind stderr; of none, what a screen usually has.
pub fn columns() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(80, |(_, columns)| usize::from(columns)).max(20)
}

/// A message on stderr behind the program's name.
pub fn complain(text: &str) {
    let text = format!("undertone: {}", escaped(text));
    match std::io::stderr().is_terminal() {
        true => eprintln!("{}", wrapped(&text, columns(), 2)),
        false => eprintln!("{text}"),
    }
}

/// An answer for standard output: on a terminal no wider than that, lines going on two columns in.
pub fn fitted(text: &str) -> String {
    let term = Term::stdout();
    match term.size_checked().filter(|_| term.is_term()) {
        Some((_, columns)) => wrapped(text, usize::from(columns).max(20), 2),
        None => text.to_owned(),
    }
}

/// The text with its control characters written out, line breaks aside.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push(c),
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// A name in one line.
pub fn one_line(name: &str) -> String {
    escaped(name).replace('\n', "\\n")
}

/// A name with its middle left out, so that it takes `columns` at most: beginnings and endings tell
/// recordings apart.
pub fn cut(name: &str, columns: usize) -> String {
    if measure_text_width(name) <= columns {
        return name.to_owned();
    }
    let room = columns.saturating_sub(1);
    let head = taken(name.chars(), room.div_ceil(2));
    let tail = taken(name.chars().rev(), room / 2);
    let tail: String = tail.chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many of the characters as fit.
fn taken(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut text = String::new();
    for c in chars {
        text.push(c);
        if measure_text_width(&text) > columns {
            text.pop();
            break;
        }
    }
    text
}

/// The text broken between words, each new line `indent` columns in. Words that are wider than a line
/// stay whole.
pub fn wrapped(text: &str, columns: usize, indent: usize) -> String {
    let lines = text
        .split('\n')
        .map(|line| wrapped_line(line, columns, indent));
    lines.collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, columns: usize, indent: usize) -> String {
    if measure_text_width(line) <= columns {
        return line.to_owned();
    }
    let (mut text, mut width, mut empty) = (String::new(), 0, true);
    for word in line.split(' ') {
        let needed = measure_text_width(word);
        if !empty && width + 1 + needed > columns {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            width = indent;
        } else if !text.is_empty() || !empty {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += needed;
        empty = false;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_middle() {
        assert_eq!(cut("short.mp3", 12), "short.mp3");
        assert_eq!(
            cut("2024-05-01_interview_with_the_mayor.mp3", 16),
            "2024-05-…yor.mp3"
        );
        // Two columns each.
        let wide = cut("会議録音二千二十六年.wav", 11);
        assert_eq!(wide, "会議….wav");
        assert!(measure_text_width(&wide) <= 11);
    }

    #[test]
    fn lines_break_between_words() {
        let text = "undertone: one two three four";
        assert_eq!(wrapped(text, 20, 2), "undertone: one two\n  three four");
        assert_eq!(wrapped(text, 80, 2), text);
        assert_eq!(
            wrapped("a /a/very/long/path/to/here", 12, 2),
            "a\n  /a/very/long/path/to/here"
        );
        let timed = "[00:00.000 --> 00:02.000]  two words";
        assert_eq!(
            wrapped(timed, 31, 27),
            "[00:00.000 --> 00:02.000]  two\n                           words"
        );
    }

    #[test]
    fn nothing_is_left_to_obey() {
        assert_eq!(escaped("a\u{1b}[2Jb\u{7}\nc"), "a\\u{1b}[2Jb\\u{7}\nc");
        assert_eq!(one_line("a\nb\tc"), "a\\nb\\tc");
    }
}
