// Who outside has seen the log: the witnesses of its latest checkpoint, and the chain that it is anchored on.
import { useQuery } from "@tanstack/react-query";
import { api, body } from "../../api/client";
import type { Checkpoint } from "../../api/queries";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Ago, count, Hash } from "../../ui/text";
import { parseCheckpoint } from "../../verify/checkpoint";

export function Outside({ now }: { now: Checkpoint }) {
  const { data, error } = useQuery({
    queryKey: ["log", "anchors"],
    queryFn: async () => body(await api.GET("/v1/log/anchors")),
    refetchInterval: 10_000,
  });
  const witnesses = witnessesOf(now.note);
  return (
    <section className="card card-pad stack-s" aria-labelledby="outside">
      <h2 id="outside">Seen from outside</h2>
      <dl className="facts">
        <dt>Witnesses</dt>
        <dd>
          {witnesses.length > 0 ? (
            `${witnesses.join(", ")} cosigned this checkpoint: each saw this history of the log and no other.`
          ) : (
            <span className="quiet">
              None. Its operator could show different histories to different readers, unless they compare
              checkpoints.
            </span>
          )}
        </dd>
        <dt>Blockchain</dt>
        <dd>
          {!data && !error && <Waiting lines={1} />}
          {data && !data.enabled && <span className="quiet">Not anchored on one.</span>}
          {data?.enabled && !data.anchored && `On chain ${data.chain_id}; no anchor is final yet.`}
          {data?.anchored && (
            <>
              The first {count(data.anchored.size)} entries are in block {count(data.anchored.block_number)}{" "}
              of chain {data.chain_id}
              {data.anchored.at && (
                <>
                  , <Ago at={data.anchored.at} />
                </>
              )}
              : <Hash value={data.anchored.block_hash} label="hash of the block" />
            </>
          )}
        </dd>
        {data?.enabled && data.contract && data.sender && (
          <>
            <dt>Contract</dt>
            <dd>
              <Hash value={data.contract} label="address of the contract" digits={42} />
            </dd>
            <dt>Account</dt>
            <dd>
              <Hash value={data.sender} label="address of the account" digits={42} />
            </dd>
          </>
        )}
      </dl>
      <ErrorNote error={error} />
      {data?.problem && <Note tone="warn">Anchors wait: {data.problem}</Note>}
      {data?.alarm && <Note tone="bad">The chain contradicts this log: {data.alarm}</Note>}
    </section>
  );
}

function witnessesOf(note: string): string[] {
  try {
    return parseCheckpoint(note).cosignatures.map(({ witness }) => witness);
  } catch {
    // What is wrong with a checkpoint is said where it is verified.
    return [];
  }
}
