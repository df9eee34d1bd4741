// An address that leads nowhere.
import { ButtonLink } from "../ui/button";
import { Empty } from "../ui/feedback";

export function NotFound() {
  return (
    <div className="page">
      <Empty title="There is no such page" action={<ButtonLink to="/">Go home</ButtonLink>}>
        The address may be mistyped, or what it named is gone.
      </Empty>
    </div>
  );
}
