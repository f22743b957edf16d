"""Every endpoint of auth that supabase_auth has a method for, and a last look at whether it was every one."""

import unittest

import admin
import factors
import mails
import phones
import providers
import record
import sign_up
from world import client

AREAS = (sign_up, mails, phones, providers, factors, admin)
# They ask nothing themselves, or only what others ask.
WITHOUT_ROWS = {
    "admin.close", "close", "exchange_code", "get_session", "initialize", "initialize_from_storage", "initialize_from_url",
    "mfa.get_authenticator_assurance_level", "on_auth_state_change", "reset_password_email", "set_session",
    "sign_in_with_oauth",
}


def methods(target, path: str = "") -> list[str]:
    """The public methods of an object of the client, by their names."""
    found = []
    for name in dir(target):
        value = getattr(target, name)
        if name in record.INNER:
            found += methods(value, f"{path}{name}.")
        elif callable(value) and not name.startswith("_"):
            found.append(f"{path}{name}")
    return found


class Contract(unittest.TestCase):
    def test_was_driven_row_by_row_by_the_methods_that_its_list_names(self):
        self.assertEqual((record.missing(), record.unlisted()), ([], set()))

    def test_has_a_row_for_every_method_of_the_client_that_asks(self):
        listed = {by for row in record.rows() for by in row["by"]}
        everything = methods(client()._target)
        self.assertGreater(len(everything), 40)
        self.assertEqual([it for it in everything if it not in listed | WITHOUT_ROWS], [])


def load_tests(loader: unittest.TestLoader, *_) -> unittest.TestSuite:
    """The areas, then what looks back on them."""
    suite = unittest.TestSuite(loader.loadTestsFromModule(it) for it in AREAS)
    suite.addTests(loader.loadTestsFromTestCase(Contract))
    return suite
