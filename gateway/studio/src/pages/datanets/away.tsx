// Who decides for the caller while they are away.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api } from "../../api/client";
import { absence } from "../../api/queries";
import { Button } from "../../ui/button";
import { ErrorNote, Note } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { moment } from "../../ui/text";

export function Away() {
  const client = useQueryClient();
  const { data, error } = useQuery(absence);
  const [delegate, setDelegate] = useState("");
  const [until, setUntil] = useState("");
  const set = useMutation({
    mutationFn: async () => {
      // The field is in the reader's own time.
      const body = { delegate: delegate.trim(), until: new Date(until).toISOString() };
      await api.PUT("/v1/absence", { body });
    },
    onSuccess: () => {
      setDelegate("");
      setUntil("");
      return client.invalidateQueries(absence);
    },
  });
  const back = useMutation({
    mutationFn: async () => {
      await api.DELETE("/v1/absence");
    },
    onSuccess: () => client.invalidateQueries(absence),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    set.mutate();
  };
  return (
    <section className="stack" aria-labelledby="away">
      <h2 id="away">While I am away</h2>
      <p className="quiet">
        Requests that you would decide go to somebody else meanwhile, with your voice; the log says for whom
        they spoke.
      </p>
      <ErrorNote error={error ?? set.error ?? back.error} />
      {data?.absence ? (
        <Note>
          <div className="row row-wrap">
            <span>
              <strong>{data.absence.delegate}</strong> decides for you until {moment(data.absence.until)}.
            </span>
            <Button small disabled={back.isPending} onClick={() => back.mutate()}>
              I am back
            </Button>
          </div>
        </Note>
      ) : (
        <form className="card card-pad away-form" onSubmit={submit}>
          <TextField
            label="Who decides for me"
            placeholder="someone@example.org"
            hint="The subject of their key or sign-in."
            value={delegate}
            onChange={(event) => setDelegate(event.target.value)}
          />
          <TextField
            label="Until"
            type="datetime-local"
            hint="In your own time."
            value={until}
            onChange={(event) => setUntil(event.target.value)}
          />
          <Button type="submit" disabled={!delegate.trim() || !until || set.isPending}>
            Let them decide
          </Button>
        </form>
      )}
    </section>
  );
}
