// Datapoints in the order of their contribution, a page at a time.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Button, ButtonLink } from "../../ui/button";
import { Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { count } from "../../ui/text";
import { DatapointCard } from "./datapoint-card";
import { useWithdrawal } from "./withdraw";

const LIMIT = 20;

export function Browse({
  datanet,
  mayAdd,
  governs,
}: {
  datanet: Schemas["Datanet"];
  mayAdd: boolean;
  governs: boolean;
}) {
  const withdrawal = useWithdrawal(datanet.name);
  const [after, setAfter] = useState(0);
  const { name, snapshot } = datanet;
  const { data, error } = useQuery({
    queryKey: ["datanets", name, "page", after, snapshot.root],
    queryFn: async () => {
      const query = { after, limit: LIMIT };
      return body(await api.GET("/v1/datanets/{name}/datapoints", { params: { path: { name }, query } }));
    },
    placeholderData: keepPreviousData,
  });
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Waiting lines={6} />;
  if (snapshot.size === 0) {
    return (
      <div className="card">
        <Empty
          title="Nothing in here yet"
          action={
            mayAdd && (
              <ButtonLink to="/datanets/$name" params={{ name }} search={{ tab: "add" }} look="primary">
                Add a file
              </ButtonLink>
            )
          }
        >
          Add a file: a PDF, a Word document, a web page, a table, Markdown, plain text, or a dictionary.
        </Empty>
      </div>
    );
  }
  const pager = (
    <div className="row">
      <span className="quiet small numbers">
        {count(after + 1)} to {count(Math.min(after + LIMIT, snapshot.size))} of {count(snapshot.size)}
      </span>
      <Button
        small
        className="push"
        disabled={after === 0}
        onClick={() => setAfter(Math.max(0, after - LIMIT))}
      >
        <ChevronLeft size={15} aria-hidden />
        Earlier
      </Button>
      <Button small disabled={after + LIMIT >= snapshot.size} onClick={() => setAfter(after + LIMIT)}>
        Later
        <ChevronRight size={15} aria-hidden />
      </Button>
    </div>
  );
  return (
    <div className="stack">
      {withdrawal.note}
      {withdrawal.dialog}
      {pager}
      <ul className="datapoints card">
        {data.data.map((datapoint) => (
          <DatapointCard
            key={datapoint.id}
            datapoint={datapoint}
            action={
              governs && (
                <Button
                  small
                  look="quiet"
                  aria-label={`Withdraw ${datapoint.id}`}
                  onClick={() => withdrawal.withdraw(datapoint)}
                >
                  Withdraw…
                </Button>
              )
            }
          />
        ))}
      </ul>
      {pager}
    </div>
  );
}
