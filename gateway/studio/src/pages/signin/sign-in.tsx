// The way in: an API key, or a token of the organisation's identity provider.
import { type FormEvent, useState } from "react";
import { api } from "../../api/client";
import { queryClient } from "../../api/queries";
import { signIn } from "../../api/session";
import { Logo } from "../../shell/logo";
import { Button } from "../../ui/button";
import { ErrorNote, Spinner } from "../../ui/feedback";
import { Checkbox, TextField } from "../../ui/field";
import { useTitle } from "../../ui/page";

export function SignIn() {
  useTitle("Sign in");
  const [secret, setSecret] = useState("");
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const given = secret.trim();
    if (!given) return setError("Enter an API key first.");
    setBusy(true);
    setError(undefined);
    try {
      await api.GET("/v1/me", { headers: { authorization: `Bearer ${given}` } });
      queryClient.clear();
      signIn(given, remember);
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <main className="sign-in">
      <div className="sign-in-head">
        <Logo size={40} />
        <h1>Sign in to Cairn</h1>
        <p>Answers that show their sources, and prove them.</p>
      </div>
      <form className="card" onSubmit={submit}>
        <TextField
          label="API key or token"
          type="password"
          name="credential"
          placeholder="cairn_…"
          autoComplete="current-password"
          autoFocus
          value={secret}
          onChange={(event) => setSecret(event.target.value)}
          hint={
            <>
              Made with <code>cairn keys create</code>. The administrator’s is in{" "}
              <code>.cairn/admin.key</code>.
            </>
          }
        />
        <Checkbox checked={remember} onChange={setRemember}>
          Remember on this device
          <br />
          <span className="quiet small">Otherwise the key is forgotten when this tab closes.</span>
        </Checkbox>
        <ErrorNote error={error} />
        <Button type="submit" look="primary" disabled={busy}>
          {busy ? <Spinner /> : null}
          Sign in
        </Button>
      </form>
    </main>
  );
}
