import { type FormEvent, useState } from "react";
import { requestJson } from "@/api/client";
import { asApiError } from "@/api/problem";
import { useSession } from "@/api/session";
import { Button } from "@/ui/Button";
import { Field, Input } from "@/ui/Field";
import { Logo } from "./Logo";

/** Asks for a token when the server wants one. */
export function SignIn() {
  const [token, setToken] = useState("");
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [mistake, setMistake] = useState<string | null>(null);
  const signIn = useSession((session) => session.signIn);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setMistake(null);
    try {
      const text = token.trim();
      await requestJson("/api/v1/whoami", { headers: { Authorization: `Bearer ${text}` } });
      signIn(text, remember);
    } catch (error) {
      const problem = asApiError(error);
      setMistake(problem.status === 401 ? "This token is unknown, revoked or expired." : problem.detail);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="flex min-h-full items-center justify-center p-4">
      <form
        onSubmit={submit}
        className="flex w-full max-w-sm flex-col gap-4 rounded-lg border border-line bg-surface p-6"
      >
        <div className="flex items-center gap-2.5">
          <Logo size={30} />
          <h1 className="text-xl font-semibold">Heimdall</h1>
        </div>
        <Field
          label="Access token"
          error={mistake}
          hint={
            <>
              The first start wrote one to <code className="font-mono">admin.token</code> in the data folder; more with{" "}
              <code className="font-mono">heimdall token issue</code>.
            </>
          }
        >
          {(ids) => (
            <Input
              {...ids}
              type="password"
              autoFocus
              required
              value={token}
              onChange={(event) => setToken(event.target.value)}
              autoComplete="current-password"
            />
          )}
        </Field>
        <label className="flex items-center gap-2 text-sm text-muted">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
          Keep it in this browser
        </label>
        <Button kind="primary" type="submit" busy={busy} disabled={token.trim() === ""}>
          Sign in
        </Button>
      </form>
    </main>
  );
}
