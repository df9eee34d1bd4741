// Who used how much of which model, by day.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "../../api/client";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Segments, TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { count, date } from "../../ui/text";
import { type By, type Line, summed } from "./sums";

const day = (back: number) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);

const HEADS: Record<By, string> = { subject: "Subject", model: "Model", day: "Day", key: "API key" };

export function Usage() {
  const caller = useCaller();
  const [from, setFrom] = useState(day(29));
  const [to, setTo] = useState(day(0));
  const [subject, setSubject] = useState("");
  const [by, setBy] = useState<By>("subject");
  const query = {
    ...(from ? { from } : {}),
    ...(to ? { to } : {}),
    ...(subject.trim() ? { subject: subject.trim() } : {}),
  };
  const { data, error } = useQuery({
    queryKey: ["usage", query],
    queryFn: async () => body(await api.GET("/v1/usage", { params: { query } })),
  });
  return (
    <div className="stack">
      <div className="card card-pad usage-query">
        <TextField label="From" type="date" value={from} onChange={(event) => setFrom(event.target.value)} />
        <TextField label="To" type="date" value={to} onChange={(event) => setTo(event.target.value)} />
        {caller?.may("auditors") && (
          <TextField
            label="Subject"
            placeholder="everyone"
            value={subject}
            onChange={(event) => setSubject(event.target.value)}
          />
        )}
      </div>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={5} />}
      {data && data.data.length === 0 && (
        <div className="card">
          <Empty title="Nothing was used in this time">
            Every answer is counted by who asked, and for which model.
          </Empty>
        </div>
      )}
      {data && data.data.length > 0 && (
        <>
          {data.has_more && <Note>Only the latest 10,000 lines are added up here; choose fewer days.</Note>}
          <div className="row row-wrap">
            <Segments
              label="Added up by"
              value={by}
              onChange={setBy}
              options={[
                ["subject", "By subject"],
                ["model", "By model"],
                ["day", "By day"],
                ["key", "By key"],
              ]}
            />
          </div>
          <Sums lines={data.data} by={by} onSubject={setSubject} />
        </>
      )}
    </div>
  );
}

function Sums({ lines, by, onSubject }: { lines: Line[]; by: By; onSubject: (subject: string) => void }) {
  const rows = summed(lines, by);
  const most = Math.max(1, ...rows.map(({ read, written }) => read + written));
  return (
    <TableCard label="Usage">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{HEADS[by]}</th>
            <th scope="col" className="number">
              Requests
            </th>
            <th scope="col" className="number">
              Tokens read
            </th>
            <th scope="col" className="number">
              Tokens written
            </th>
            <th scope="col">
              <span className="hidden-visually">Part of the most</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, requests, read, written }) => (
            <tr key={name}>
              <td>
                {by === "subject" ? (
                  <Button small look="quiet" className="usage-subject" onClick={() => onSubject(name)}>
                    {name}
                  </Button>
                ) : by === "day" ? (
                  <span className="numbers">{date(name)}</span>
                ) : (
                  <span className={by === "key" ? "mono" : undefined}>{name}</span>
                )}
              </td>
              <td className="number">{count(requests)}</td>
              <td className="number">{count(read)}</td>
              <td className="number">{count(written)}</td>
              <td className="usage-bar" aria-hidden>
                <span style={{ width: `${((read + written) / most) * 100}%` }} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableCard>
  );
}
