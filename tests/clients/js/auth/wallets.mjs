// Signing in by wallets: an Ethereum account of ethers, and an Ed25519 key that signs as a Solana wallet does.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, test } from "node:test";
import { Wallet, getBytes } from "ethers";
import { SITE, client, good, refusal } from "./world.mjs";

const options = { url: `${SITE}/` };

/** What a page finds at `window.ethereum`. */
function ethereum() {
  const account = Wallet.createRandom();
  return {
    address: account.address,
    request: async ({ method, params }) => ({
      eth_requestAccounts: () => [account.address],
      eth_chainId: () => "0x1",
      personal_sign: () => account.signMessage(getBytes(params[0])),
    })[method](),
  };
}

/** What a page finds at `window.solana`. */
function solana() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const address = base58(Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url"));
  return {
    publicKey: { toBase58: () => address },
    signMessage: async (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

function base58(bytes) {
  const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  let text = "";
  for (let rest = BigInt(`0x${bytes.toString("hex")}`); rest; rest /= 58n) text = letters[Number(rest % 58n)] + text;
  return "1".repeat(bytes.findIndex((it) => it !== 0)) + text;
}

describe("wallets", { concurrency: true }, () => {
  test("of Ethereum sign in, the same user each time", async () => {
    const wallet = ethereum();
    const credentials = { chain: "ethereum", wallet, statement: "I want to see my board.", options };
    const { user } = await good(client().auth.signInWithWeb3(credentials));
    assert.equal(user.app_metadata.provider, "web3");
    assert.equal(user.identities[0].identity_data.custom_claims.address.toLowerCase(), wallet.address.toLowerCase());
    assert.equal((await good(client().auth.signInWithWeb3(credentials))).user.id, user.id);
  });

  test("of Solana sign in, the same user each time", async () => {
    const wallet = solana();
    const credentials = { chain: "solana", wallet, statement: "I want to see my board.", options };
    const { user } = await good(client().auth.signInWithWeb3(credentials));
    assert.equal(user.identities[0].identity_data.custom_claims.address, wallet.publicKey.toBase58());
    assert.equal((await good(client().auth.signInWithWeb3(credentials))).user.id, user.id);
  });

  test("do not sign for others, nor for other sites", async () => {
    const [mine, theirs] = [ethereum(), ethereum()];
    const forged = { ...theirs, request: (it) => (it.method === "personal_sign" ? mine : theirs).request(it) };
    const credentials = { chain: "ethereum", statement: "Let me in.", options };
    assert.equal((await refusal(client().auth.signInWithWeb3({ ...credentials, wallet: forged })))[0], 400);
    const elsewhere = { chain: "ethereum", wallet: mine, statement: "Let me in.", options: { url: "https://evil.example/" } };
    assert.equal((await refusal(client().auth.signInWithWeb3(elsewhere)))[0], 400);
  });
});
