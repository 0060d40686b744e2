//! The local function of the example `degradation`.

#[path = "../examples/degradation.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example, for one function of it")]
mod degradation;

use degradation::company_guess;

#[test]
fn a_company_is_guessed_by_the_public_suffix_list() {
    let guesses = [
        ("acme.com", "acme"),
        ("acme.co.uk", "acme"),
        ("sub.acme.com", "acme"),
        ("www.Sub.ACME.co.uk.", "acme"),
        ("my-shop.de", "my shop"),
        ("acme.example", "acme"),
        ("acme.github.io", "acme"),
        ("acme.com.au", "acme"),
        ("müller.de", "müller"),
    ];
    for (domain, name) in guesses {
        assert_eq!(company_guess(domain).as_deref(), Some(name), "{domain}");
    }
    for none in ["", " ", ".", "co.uk", "com", "192.168.0.1", "::1"] {
        assert_eq!(company_guess(none), None, "{none:?}");
    }
}
