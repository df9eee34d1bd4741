// The way in: with the organisation's provider, where there is one; by an API key or a token.
import { type FormEvent, useState } from "react";
import { api } from "../../api/client";
import { queryClient } from "../../api/queries";
import { signIn, useWays } from "../../api/session";
import { type Failure, failure, providerLink } from "../../api/sign-in";
import { Logo } from "../../shell/logo";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Spinner } from "../../ui/feedback";
import { Checkbox, TextField } from "../../ui/field";
import { useTitle } from "../../ui/page";

export function SignIn() {
  useTitle("Sign in");
  const { provider, trouble, ended } = useWays();
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
      {ended ? (
        <Note tone="warn">Your session has ended. Sign in again.</Note>
      ) : failure ? (
        <Note tone="bad">{why(failure, provider ?? "Your provider")}</Note>
      ) : (
        <ErrorNote error={trouble} />
      )}
      {provider && (
        <div className="sign-in-provider">
          <a className="button button-primary" href={providerLink()}>
            Continue with {provider}
          </a>
          <p className="sign-in-or">or</p>
        </div>
      )}
      <form className="card" onSubmit={submit}>
        <TextField
          label="API key or token"
          type="password"
          name="credential"
          placeholder="cairn_…"
          autoComplete="current-password"
          autoFocus={!provider}
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
        <Button type="submit" look={provider ? "plain" : "primary"} disabled={busy}>
          {busy ? <Spinner /> : null}
          Sign in
        </Button>
      </form>
    </main>
  );
}

function why(failure: Failure, provider: string): string {
  switch (failure) {
    case "unavailable":
      return `${provider} cannot be reached. Try again in a while, or use an API key.`;
    case "stale":
      return "That sign-in took too long, was used before, or began in another browser. Try again.";
    case "declined":
      return `${provider} did not let you in.`;
    case "refused":
      return `The gateway could not accept what ${provider} sent. Its log says why; tell your administrator.`;
    case "no_roles":
      return `${provider} knows you, but you have no role here. Ask your administrator for one.`;
  }
}
