"""What the service key does: users, links, clients of the OAuth server."""

from supabase_auth.types import CreateOAuthClientParams, UpdateOAuthClientParams

from world import PASSWORD, WELCOME, Case, admin, any_address, any_phone, arrive, client, follow, mail, person


class Admin(Case):
    def test_users_are_made_read_changed_banned_and_removed(self):
        email, phone = any_address("made"), any_phone()
        made = admin.create_user({"email": email, "phone": phone, "password": PASSWORD, "email_confirm": True})
        self.assertEqual(admin.get_user_by_id(made.user.id).user.phone, phone)
        self.assertEqual(len(admin.list_users(page=1, per_page=1)), 1)
        admin.update_user_by_id(made.user.id, {"app_metadata": {"plan": "tin"}})
        signed_in = client().sign_in_with_password({"email": email, "password": PASSWORD})
        self.assertEqual(signed_in.user.app_metadata["plan"], "tin")
        admin.update_user_by_id(made.user.id, {"ban_duration": "1h"})
        self.refused(400, "user_banned", client().sign_in_with_password, {"email": email, "password": PASSWORD})
        admin.delete_user(made.user.id)
        self.refused(404, "user_not_found", admin.get_user_by_id, made.user.id)
        self.refused(403, "not_admin", client().admin.list_users)

    def test_links_of_every_kind_are_made_and_not_mailed(self):
        fresh, guest, new = (any_address(it) for it in ("fresh", "guest", "new"))
        ada = person("linked")

        def link(of: dict):
            return admin.generate_link({"options": {"redirect_to": WELCOME}, **of}).properties

        for wanted in ({"type": "signup", "email": fresh, "password": PASSWORD}, {"type": "invite", "email": guest}):
            self.assertEqual(follow(link(wanted).action_link).fragment["type"], wanted["type"])
        magic = link({"type": "magiclink", "email": ada.email})
        self.assertEqual((magic.verification_type, magic.redirect_to), ("magiclink", WELCOME))
        self.assertEqual(arrive(client(), follow(magic.action_link)).user.id, ada.id)
        code = link({"type": "recovery", "email": ada.email}).email_otp
        self.assertEqual(client().verify_otp({"email": ada.email, "token": code, "type": "recovery"}).user.id, ada.id)
        both = [link({"type": it, "email": ada.email, "new_email": new})
                for it in ("email_change_current", "email_change_new")]
        for it in both:
            follow(it.action_link)
        self.assertEqual(ada.auth.get_user().user.email, new)
        self.assertEqual([mail.letters.count(it) for it in (fresh, guest, ada.email, new)], [0, 0, 0, 0])

    def test_oauth_clients_are_made_read_changed_and_removed(self):
        wanted = CreateOAuthClientParams(client_name="Board", redirect_uris=["https://board.example/cb"])
        made = admin.oauth.create_client(wanted).client
        self.assertIn(made.client_id, [it.client_id for it in admin.oauth.list_clients().clients])
        fresh = admin.oauth.regenerate_client_secret(made.client_id).client
        self.assertNotIn(fresh.client_secret, (None, made.client_secret))
        admin.oauth.update_client(made.client_id, UpdateOAuthClientParams(client_name="Boards"))
        self.assertEqual(admin.oauth.get_client(made.client_id).client.client_name, "Boards")
        admin.oauth.delete_client(made.client_id)
        self.refused(404, "oauth_client_not_found", admin.oauth.get_client, made.client_id)
