//! What somebody probably meant.

/// The nearest of `possible`, if one is near enough to be meant. Case and `_`, `-`, `.` do not count, so that CometD's
/// `maxInterval` finds `max_interval`.
pub(crate) fn nearest<'a>(given: &str, possible: &[&'a str]) -> Option<&'a str> {
    let bare = bare(given);
    possible
        .iter()
        .map(|&name| (strsim::damerau_levenshtein(&bare, &self::bare(name)), name))
        .filter(|&(distance, name)| {
            let longest = name.chars().count().max(given.chars().count());
            distance < longest && distance <= (longest / 3).clamp(1, 4)
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// `did you mean …?`, or what is possible.
pub(crate) fn help(given: &str, possible: &[&str]) -> Option<String> {
    match nearest(given, possible) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None => listing("possible here", possible),
    }
}

/// `possible here: a, b and c`.
pub(crate) fn listing(intro: &str, names: &[&str]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    Some(format!("{intro}: {}", any_of(names, "and")))
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn any_of(names: &[&str], last: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}

fn bare(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_and_another_way_of_writing_find_the_key_and_another_word_does_not() {
        let keys = ["listen", "path", "max_interval", "tls"];
        assert_eq!(nearest("lisen", &keys), Some("listen"));
        assert_eq!(nearest("maxInterval", &keys), Some("max_interval"));
        assert_eq!(nearest("max-intervall", &keys), Some("max_interval"));
        assert_eq!(nearest("TLS", &keys), Some("tls"));
        assert_eq!(nearest("port", &keys), None);
        assert_eq!(nearest("", &keys), None);
        assert_eq!(nearest("b", &["a"]), None);
    }
}
