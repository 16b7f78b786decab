//! The options of what goes over the wire.

use super::bad::finds;

#[test]
fn what_goes_into_the_cookies_header_cannot_say_more_than_it_should() {
    finds(
        "bayeux:\n  browser_cookie:\n    name: \"a=b; x\"\n    domain: \"example.com; Secure\"\n    path: \"/a\\r\\nX: y\"\n    \
         max_age: 1500ms\n",
        &[
            ("3:11", "no name of a cookie", "BAYEUX_BROWSER"),
            ("4:13", "no domain", "without a port"),
            ("5:11", "no path that a cookie can have", "begins with a slash"),
            ("6:14", "cannot be kept for 1500ms", "whole seconds"),
        ],
    );
    finds(
        "bayeux:\n  browser_cookie:\n    same_site: none\n",
        &[("3:16", "browsers throw this cookie away", "secure: true")],
    );
}

#[test]
fn options_of_the_wire_that_cannot_be_are_told() {
    finds(
        "bayeux:\n  duplicate_meta_connect_http_response_code: 200\n  callback_polling: { callback_parameter: message }\n",
        &[("2:46", "400", "")],
    );
    finds(
        "bayeux:\n  callback_polling: { callback_parameter: message }\n  websocket: { protocol: \"a b\", idle_timeout: 20s }\n",
        &[
            ("2:43", "cannot be `message`", "such as `jsonp`"),
            ("3:26", "no name of a sub-protocol", "such as `bayeux`"),
            ("3:47", "closed while they hold a connect", "0s"),
        ],
    );
}
