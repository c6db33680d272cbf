//! What each word means in a number.

/// The part that a word plays in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A zero, however it is called.
    Zero,
    /// 1 to 19.
    Ones(u32),
    /// 1 to 19 as an ordinal or a plural, with the ending.
    OnesEnding(u32, &'static str),
    /// 20, 30, … 90.
    Tens(u32),
    /// 20, 30, … 90 as an ordinal or a plural, with the ending.
    TensEnding(u32, &'static str),
    /// A power of ten, by its zeros.
    Multiplier(usize),
    /// A power of ten as an ordinal or a plural, with the ending.
    MultiplierEnding(usize, &'static str),
    /// A sign before the number.
    Sign(char),
    /// A currency after the number, written before it.
    Currency(char),
    /// `per`, which makes percent of `cent`.
    Per,
    /// The percent sign.
    Percent,
    /// Between hundreds and tens.
    And,
    /// The next digit this many times.
    Repeat(usize),
    /// The decimal point.
    Point,
}

const ONES: [(&str, &str); 19] = [
    ("one", "first"),
    ("two", "second"),
    ("three", "third"),
    ("four", "fourth"),
    ("five", "fifth"),
    ("six", "sixth"),
    ("seven", "seventh"),
    ("eight", "eighth"),
    ("nine", "nineth"), // openai's rules make it so, and "ninth" stays a word
    ("ten", "tenth"),
    ("eleven", "eleventh"),
    ("twelve", "twelfth"),
    ("thirteen", "thirteenth"),
    ("fourteen", "fourteenth"),
    ("fifteen", "fifteenth"),
    ("sixteen", "sixteenth"),
    ("seventeen", "seventeenth"),
    ("eighteen", "eighteenth"),
    ("nineteen", "nineteenth"),
];

const TENS: [&str; 8] = [
    "twent", "thirt", "fort", "fift", "sixt", "sevent", "eight", "ninet",
];

const MULTIPLIERS: [(&str, usize); 12] = [
    ("hundred", 2),
    ("thousand", 3),
    ("million", 6),
    ("billion", 9),
    ("trillion", 12),
    ("quadrillion", 15),
    ("quintillion", 18),
    ("sextillion", 21),
    ("septillion", 24),
    ("octillion", 27),
    ("nonillion", 30),
    ("decillion", 33),
];

const OTHERS: [(&str, Role); 21] = [
    ("o", Role::Zero),
    ("oh", Role::Zero),
    ("zero", Role::Zero),
    ("zeroth", Role::OnesEnding(0, "th")),
    ("minus", Role::Sign('-')),
    ("negative", Role::Sign('-')),
    ("plus", Role::Sign('+')),
    ("positive", Role::Sign('+')),
    ("pound", Role::Currency('£')),
    ("pounds", Role::Currency('£')),
    ("euro", Role::Currency('€')),
    ("euros", Role::Currency('€')),
    ("dollar", Role::Currency('$')),
    ("dollars", Role::Currency('$')),
    ("cent", Role::Currency('¢')),
    ("cents", Role::Currency('¢')),
    ("per", Role::Per),
    ("percent", Role::Percent),
    ("and", Role::And),
    ("double", Role::Repeat(2)),
    ("triple", Role::Repeat(3)),
];

/// Every word that may belong to a number, with its role.
pub(super) fn roles() -> impl Iterator<Item = (String, Role)> {
    let ones = ONES
        .into_iter()
        .zip(1u32..)
        .flat_map(|((name, ordinal), n)| {
            let plural = if name == "six" {
                "sixes".to_owned()
            } else {
                format!("{name}s")
            };
            let ending = match n {
                1 => "st",
                2 => "nd",
                3 => "rd",
                _ => "th",
            };
            [
                (name.to_owned(), Role::Ones(n)),
                (plural, Role::OnesEnding(n, "s")),
                (ordinal.to_owned(), Role::OnesEnding(n, ending)),
            ]
        });
    let tens = TENS.into_iter().zip(2u32..).flat_map(|(stem, n)| {
        [
            (format!("{stem}y"), Role::Tens(n * 10)),
            (format!("{stem}ies"), Role::TensEnding(n * 10, "s")),
            (format!("{stem}ieth"), Role::TensEnding(n * 10, "th")),
        ]
    });
    let multipliers = MULTIPLIERS.into_iter().flat_map(|(name, zeros)| {
        [
            (name.to_owned(), Role::Multiplier(zeros)),
            (format!("{name}s"), Role::MultiplierEnding(zeros, "s")),
            (format!("{name}th"), Role::MultiplierEnding(zeros, "th")),
        ]
    });
    let others = OTHERS
        .into_iter()
        .map(|(word, role)| (word.to_owned(), role));
    ones.chain(tens)
        .chain(multipliers)
        .chain(others)
        .chain([("point".to_owned(), Role::Point)])
}
