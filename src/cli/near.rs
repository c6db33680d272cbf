//! What somebody may have meant who typed a name that is none.

/// The name that is nearest to what was typed, in any case: at most a third of its letters, and one in
/// short names, are wrong, missing, too many or swapped.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let within = |name: &&str| {
        let allowed = (name.chars().count().max(typed.chars().count()) / 3).max(1);
        let far = distance(&typed, &name.to_lowercase());
        (far <= allowed && far < name.chars().count()).then_some(far)
    };
    let near = names
        .into_iter()
        .filter_map(|name| Some((within(&name)?, name)));
    near.min_by_key(|(far, _)| *far).map(|(_, name)| name)
}

/// `; did you mean NAME?`, or nothing.
pub fn meant<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Letters to change, add, take away, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_and_other_words_are_not() {
        let names = ["transcribe", "translate", "models", "large", "de", "German"];
        let table = [
            ("tanslate", Some("translate")),
            ("model", Some("models")),
            ("larg", Some("large")),
            ("germna", Some("German")),
            ("dd", Some("de")),
            ("interview.mp3", None),
            ("x", None),
            ("", None),
        ];
        for (typed, want) in table {
            assert_eq!(nearest(typed, names), want, "{typed}");
        }
        assert_eq!(meant("modles", names), "; did you mean models?");
        assert_eq!(meant("film", names), "");
    }
}
