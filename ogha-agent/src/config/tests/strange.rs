//! Nothing that a file may hold makes the reader panic.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_toml_is_too_strange(text in "([\\[\\]{}=.\",#\n '0-9a-f]|node|instance|peer|vrrp|name|\\[\\[instance\\]\\]\n){0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_slip_of_the_pen_is_too_strange(at in 0..GOOD.len(), cut in 0_usize..20, pasted in "(.|\n){0,6}") {
        let end = (at + cut).min(GOOD.len());
        let text = format!("{}{pasted}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(errors.problems().iter().all(|problem| problem.line.is_some()));
        }
    }
}
