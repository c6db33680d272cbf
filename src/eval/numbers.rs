//! Spelled-out numbers become digits: `twenty twenty one` → `2021`, `three dollars and seven cents` → `$3.07`.
//!
//! Digits are kept as text, so that no number is too large.

use std::collections::HashMap;

use regex::{Captures, Regex};

use super::number_words::{Role, roles};
use super::pattern;
use super::rules::{Rules, words};

/// Signs that may stand directly before digits.
const PREFIXES: [char; 6] = ['-', '+', '£', '€', '$', '¢'];

/// Letters and digits become words of their own, but endings stay on their number.
const BOUNDARIES: [(&str, &str); 3] = [
    ("([a-z])([0-9])", "$1 $2"),
    ("([0-9])([a-z])", "$1 $2"),
    (r"([0-9])[\s\x1c-\x1f]+(st|nd|rd|th|s)\b", "$1$2"),
];

/// Turns the numbers of a text into digits.
pub(super) struct NumberNormalizer {
    roles: HashMap<String, Role>,
    and_a_half: Regex,
    boundaries: Rules,
    digits: Regex,
    currency_and_cents: Regex,
    only_cents: Regex,
    one: Rules,
}

/// A number as far as it has been read.
#[derive(Clone, Debug)]
struct Value {
    /// Decimal digits; where `literal`, a decimal point or what an address is made of too.
    digits: String,
    /// Whether it was strung together digit by digit, so that what follows is appended and not added.
    literal: bool,
}

impl Value {
    fn counted(digits: String) -> Self {
        Self {
            digits,
            literal: false,
        }
    }

    fn literal(digits: String) -> Self {
        Self {
            digits,
            literal: true,
        }
    }

    fn is_multiple_of_ten(&self) -> bool {
        self.digits.ends_with('0')
    }

    fn is_multiple_of_hundred(&self) -> bool {
        self.digits.ends_with("00") || self.digits == "0"
    }

    /// The value times a power of ten, where that is a whole number.
    fn scaled(&self, zeros: usize) -> Option<String> {
        let (whole, fraction) = self.digits.split_once('.').unwrap_or((&self.digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digit = |c: char| Some(char::from(b'0' + decimal_digit(c)?));
        let fraction: String = fraction.chars().map(digit).collect::<Option<_>>()?;
        let whole: String = whole.chars().map(digit).collect::<Option<_>>()?;
        let fraction = fraction.trim_end_matches('0');
        let missing = zeros.checked_sub(fraction.len())?;
        Some(without_leading_zeros(&format!(
            "{whole}{fraction}{}",
            "0".repeat(missing)
        )))
    }

    /// The part below a thousand times a power of ten, and the thousands added.
    fn multiplied_below_thousand(&self, zeros: usize) -> String {
        let (thousands, rest) = self.digits.split_at(self.digits.len().saturating_sub(3));
        if thousands.is_empty() {
            return without_leading_zeros(&format!("{rest}{}", "0".repeat(zeros)));
        }
        add(
            &format!("{thousands}000"),
            &format!("{rest}{}", "0".repeat(zeros)),
        )
    }
}

/// Reads word after word and puts out words and numbers.
#[derive(Default)]
struct Reader {
    prefix: Option<char>,
    value: Option<Value>,
    out: Vec<String>,
}

/// A word among its neighbours.
struct Place<'a> {
    previous: Option<Role>,
    current: &'a str,
    next: Option<&'a str>,
    next_role: Option<Role>,
    next_is_digits: bool,
}

impl NumberNormalizer {
    pub(super) fn new() -> Self {
        Self {
            roles: roles().collect(),
            and_a_half: pattern(r"\band[\s\x1c-\x1f]+a[\s\x1c-\x1f]+half\b"),
            boundaries: Rules::new(BOUNDARIES),
            digits: pattern(r"^\d+(\.\d+)?$"),
            currency_and_cents: pattern(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b"),
            only_cents: pattern(r"[€£$]0.([0-9]{1,2})\b"),
            one: Rules::new([(r"\b1(s?)\b", "one$1")]),
        }
    }

    pub(super) fn normalize(&self, text: &str) -> String {
        let text = self.boundaries.applied(self.halves(text));
        self.money(&self.read(&text))
    }

    /// `<number> and a half` is `<number> point five`.
    fn halves(&self, text: &str) -> String {
        let parts: Vec<&str> = self.and_a_half.split(text).collect();
        let mut out = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let Some(last) = words(part).last() else {
                continue;
            };
            out.push(*part);
            if i + 1 < parts.len() {
                let numeric = matches!(
                    self.roles.get(last),
                    Some(Role::Zero | Role::Ones(_) | Role::Tens(_) | Role::Multiplier(_))
                );
                out.push(if numeric { "point five" } else { "and a half" });
            }
        }
        out.join(" ")
    }

    fn read(&self, text: &str) -> String {
        let words: Vec<&str> = words(text).collect();
        let role = |word: Option<&&str>| word.and_then(|word| self.roles.get(*word).copied());
        let mut reader = Reader::default();
        let mut skip = false;
        for (i, current) in words.iter().enumerate() {
            if std::mem::take(&mut skip) {
                continue;
            }
            let next = words.get(i + 1);
            let place = Place {
                previous: role(i.checked_sub(1).and_then(|before| words.get(before))),
                current,
                next: next.copied(),
                next_role: role(next),
                next_is_digits: next.is_some_and(|next| self.digits.is_match(next)),
            };
            let unsigned = current.strip_prefix(PREFIXES).unwrap_or(current);
            if self.digits.is_match(unsigned) {
                reader.digits(current, unsigned);
            } else if let Some(role) = role(Some(current)) {
                skip = reader.word(role, &place);
            } else {
                reader.flush();
                reader.put(current);
            }
        }
        reader.flush();
        reader.out.join(" ")
    }

    /// `$2 and ¢7` is `$2.07`, `$0.07` is `¢7`, and a lone 1 is a word again.
    fn money(&self, text: &str) -> String {
        let joined = self
            .currency_and_cents
            .replace_all(text, |found: &Captures<'_>| {
                format!("{}{}.{:0>2}", &found[1], &found[2], &found[3])
            });
        let cents = self
            .only_cents
            .replace_all(&joined, |found: &Captures<'_>| {
                format!("¢{}", without_leading_zeros(&found[1]))
            });
        self.one.applied(cents.into_owned())
    }
}

impl Reader {
    /// Puts out a result with the sign that waits for it.
    fn put(&mut self, result: &str) {
        let prefix = self.prefix.take();
        self.value = None;
        self.out
            .push(prefix.into_iter().chain(result.chars()).collect());
    }

    /// Puts out the number that has been read, if there is one.
    fn flush(&mut self) {
        if let Some(value) = self.value.take() {
            self.put(&value.digits);
        }
    }

    /// Digits, perhaps with a sign and a fraction.
    fn digits(&mut self, current: &str, unsigned: &str) {
        match &mut self.value {
            Some(value) if value.literal && value.digits.ends_with('.') => {
                value.digits.push_str(current);
                return;
            }
            _ => self.flush(),
        }
        if current.len() > unsigned.len() {
            self.prefix = current.chars().next();
        }
        let literal = Value::literal(unsigned.to_owned());
        self.value = Some(literal.scaled(0).map_or(literal, Value::counted));
    }

    /// A word that may belong to a number. Says whether the next word is used up too.
    fn word(&mut self, role: Role, place: &Place<'_>) -> bool {
        match role {
            Role::Zero => self.append("0"),
            Role::Ones(n) | Role::Tens(n) => self.value = Some(self.extended(n, place.previous)),
            Role::OnesEnding(n, ending) | Role::TensEnding(n, ending) => {
                let value = self.extended(n, place.previous);
                self.put(&(value.digits + ending));
            }
            Role::Multiplier(zeros) => self.multiply(zeros),
            Role::MultiplierEnding(zeros, ending) => self.multiply_and_end(zeros, ending),
            Role::Sign(sign) => {
                self.flush();
                if place.next_role.is_some() || place.next_is_digits {
                    self.prefix = Some(sign);
                } else {
                    self.put(place.current);
                }
            }
            Role::Currency(sign) if self.value.is_some() => {
                self.prefix = Some(sign);
                self.flush();
            }
            Role::Percent | Role::Per if self.value.is_some() => return self.percent(role, place),
            Role::Currency(_) | Role::Percent | Role::Per => self.put(place.current),
            Role::And | Role::Repeat(_) | Role::Point => return self.special(role, place),
        }
        false
    }

    fn append(&mut self, digits: &str) {
        // A counted zero counts for nothing when digits are strung together.
        let before = self
            .value
            .take()
            .filter(|value| value.literal || value.digits != "0");
        self.value = Some(Value::literal(
            before.map_or(String::new(), |value| value.digits) + digits,
        ));
    }

    /// The value with a number below a hundred added where its zeros leave room, and appended where they don't.
    fn extended(&self, n: u32, previous: Option<Role>) -> Value {
        let Some(value) = &self.value else {
            return Value::counted(n.to_string());
        };
        let appended = || Value::literal(format!("{}{n}", value.digits));
        let has_room = if n < 10 {
            value.is_multiple_of_ten()
        } else {
            value.is_multiple_of_hundred()
        };
        if value.literal && n < 10 && matches!(previous, Some(Role::Tens(_))) {
            let tens = value.digits.strip_suffix('0').unwrap_or(&value.digits);
            return Value::literal(format!("{tens}{n}"));
        }
        if value.literal || (n < 20 && matches!(previous, Some(Role::Ones(_)))) || !has_room {
            return appended();
        }
        Value::counted(add(&value.digits, &n.to_string()))
    }

    fn multiply(&mut self, zeros: usize) {
        let power = || Value::counted(format!("1{}", "0".repeat(zeros)));
        self.value = Some(match self.value.take() {
            None => power(),
            Some(value) if value.literal => match value.scaled(zeros) {
                Some(digits) => Value::counted(digits),
                None => {
                    self.put(&value.digits);
                    power()
                }
            },
            Some(value) => Value::counted(value.multiplied_below_thousand(zeros)),
        });
    }

    fn multiply_and_end(&mut self, zeros: usize, ending: &str) {
        let power = format!("1{}{ending}", "0".repeat(zeros));
        match self.value.take() {
            None => self.put(&power),
            Some(value) if value.literal => match value.scaled(zeros) {
                Some(digits) => self.put(&(digits + ending)),
                None => {
                    self.put(&value.digits);
                    self.put(&power);
                }
            },
            Some(value) => self.put(&(value.multiplied_below_thousand(zeros) + ending)),
        }
    }

    /// `percent` and `per cent` after a number.
    fn percent(&mut self, role: Role, place: &Place<'_>) -> bool {
        let in_two_words = role == Role::Per && place.next == Some("cent");
        let Some(value) = self.value.take() else {
            return false;
        };
        if role == Role::Percent || in_two_words {
            self.put(&(value.digits + "%"));
        } else {
            self.put(&value.digits);
            self.put(place.current);
        }
        in_two_words
    }

    /// Words that mean something only where a number goes on.
    fn special(&mut self, role: Role, place: &Place<'_>) -> bool {
        let goes_on = place.next_role.is_some() || place.next_is_digits;
        match (role, place.next_role) {
            (Role::And, _) if goes_on && matches!(place.previous, Some(Role::Multiplier(_))) => {}
            (Role::Repeat(times), Some(Role::Ones(n))) => {
                self.append(&n.to_string().repeat(times));
                return true;
            }
            (Role::Repeat(times), Some(Role::Zero)) => {
                self.append(&"0".repeat(times));
                return true;
            }
            (Role::Point, Some(Role::Zero | Role::Ones(_) | Role::Tens(_))) => self.append("."),
            (Role::Point, _) if place.next_is_digits => self.append("."),
            (Role::Point, _) if goes_on => {}
            _ => {
                self.flush();
                self.put(place.current);
            }
        }
        false
    }
}

/// The value of a decimal digit of any script. Unicode keeps each script's ten together, in order.
fn decimal_digit(c: char) -> Option<u8> {
    if let Some(value) = c.to_digit(10) {
        return u8::try_from(value).ok();
    }
    let any_script = pattern(r"^\d$");
    let is_digit = |c: char| any_script.is_match(c.encode_utf8(&mut [0; 4]));
    if !is_digit(c) {
        return None;
    }
    let before = (0..c as u32)
        .rev()
        .map_while(char::from_u32)
        .take_while(|c| is_digit(*c))
        .count();
    u8::try_from(before % 10).ok()
}

fn without_leading_zeros(digits: &str) -> String {
    let kept = digits.trim_start_matches('0');
    if kept.is_empty() {
        "0".into()
    } else {
        kept.into()
    }
}

/// The sum of two whole numbers in decimal digits.
fn add(a: &str, b: &str) -> String {
    let width = a.len().max(b.len()) + 1;
    let digit = |text: &str, place: usize| match text.len().checked_sub(place + 1) {
        Some(at) => text.as_bytes()[at] - b'0',
        None => 0,
    };
    let mut carry = 0;
    let mut reversed = Vec::with_capacity(width);
    for place in 0..width {
        let sum = digit(a, place) + digit(b, place) + carry;
        carry = sum / 10;
        reversed.push(char::from(b'0' + sum % 10));
    }
    without_leading_zeros(&reversed.into_iter().rev().collect::<String>())
}
