//! The interface that the user probably meant by a name that does not exist.

/// The name closest to the typed one, if it is close enough.
pub(super) fn nearest<'a>(typed: &str, known: &'a [String]) -> Option<&'a str> {
    let near = known.iter().map(|name| (distance(typed, name), name)).min()?;
    (near.0.saturating_mul(2) <= typed.chars().count().max(2)).then_some(near.1.as_str())
}

/// How many letters must be changed, added, removed or exchanged with their neighbour to turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // How far the letters of `a` so far are from each beginning of `b`; and the same before the last letter.
    let (mut row, mut earlier): (Vec<usize>, Vec<usize>) = ((0..=b.len()).collect(), Vec::new());
    let mut last = None;
    for (i, letter) in a.chars().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, other) in b.iter().enumerate() {
            let of = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX);
            let changed = of(&row, j).saturating_add((letter != *other).into());
            let left_out = of(&row, j.saturating_add(1)).min(of(&next, j)).saturating_add(1);
            let before = j.checked_sub(1).and_then(|before| Some((before, b.get(before)?)));
            let exchanged = match before {
                Some((before, neighbour)) if letter == *neighbour && last == Some(*other) => {
                    of(&earlier, before).saturating_add(1)
                }
                _ => usize::MAX,
            };
            next.push(changed.min(left_out).min(exchanged));
        }
        (earlier, row, last) = (row, next, Some(letter));
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_mistyped_is_guessed() {
        let known: Vec<String> = ["eth0", "lo", "veth12ab"].iter().map(|&name| name.to_owned()).collect();
        assert_eq!(nearest("eht0", &known), Some("eth0"));
        assert_eq!(nearest("eth", &known), Some("eth0"));
        assert_eq!(nearest("wlan0", &known), None);
    }

    #[test]
    fn the_distance_is_that_of_letters() {
        for (a, b, expected) in
            [("", "", 0), ("", "lo", 2), ("lo", "", 2), ("eth0", "eth0", 0), ("eht0", "eth0", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        for (a, b, expected) in [("eth0", "eth1", 1), ("enp3s0", "enp0s3", 2), ("wlan0", "eth0", 4)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
