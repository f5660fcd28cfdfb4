import { ChevronDown } from "lucide-react";
import { Switch as RadixSwitch } from "radix-ui";
import {
  type InputHTMLAttributes,
  type ReactNode,
  type Ref,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from "react";
import { cx } from "@/lib/cx";

const BOX =
  "w-full rounded-md border border-line bg-surface text-sm text-fg placeholder:text-faint hover:border-line-strong focus:border-accent focus:outline-none disabled:opacity-50 aria-invalid:border-critical";

/** Label, control, hint and mistake, tied together for everyone. */
export function Field({
  label,
  hint,
  error,
  children,
  className,
}: {
  label: ReactNode;
  hint?: ReactNode;
  error?: ReactNode;
  children: (ids: { id: string; "aria-describedby": string; "aria-invalid"?: true }) => ReactNode;
  className?: string;
}) {
  const id = useId();
  return (
    <div className={cx("flex flex-col gap-1", className)}>
      <label htmlFor={id} className="text-xs font-medium text-muted">
        {label}
      </label>
      {children({ id, "aria-describedby": `${id}-hint`, ...(error ? { "aria-invalid": true as const } : {}) })}
      <p id={`${id}-hint`} className={cx("text-xs", error ? "text-critical" : "text-faint")}>
        {error ?? hint}
      </p>
    </div>
  );
}

export function Input({
  className,
  ref,
  ...rest
}: InputHTMLAttributes<HTMLInputElement> & { ref?: Ref<HTMLInputElement> }) {
  return (
    <input ref={ref} autoComplete="off" spellCheck={false} {...rest} className={cx(BOX, "h-8 px-2.5", className)} />
  );
}

export function TextArea({ className, ...rest }: TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return <textarea spellCheck={false} {...rest} className={cx(BOX, "min-h-20 px-2.5 py-1.5", className)} />;
}

export interface Option {
  value: string;
  label: string;
  disabled?: boolean;
}

/** The browser's own select: works with every keyboard, phone and reader. */
export function Select({
  options,
  className,
  ...rest
}: SelectHTMLAttributes<HTMLSelectElement> & { options: Option[] }) {
  return (
    <span className={cx("relative inline-flex", className)}>
      <select {...rest} className={cx(BOX, "h-8 appearance-none pr-7 pl-2.5")}>
        {options.map((option) => (
          <option key={option.value} value={option.value} disabled={option.disabled} className="bg-raised text-fg">
            {option.label}
          </option>
        ))}
      </select>
      <ChevronDown
        size={14}
        aria-hidden
        className="pointer-events-none absolute top-1/2 right-2 -translate-y-1/2 text-faint"
      />
    </span>
  );
}

export function Switch({
  checked,
  onChange,
  label,
  disabled,
  title,
}: {
  checked: boolean;
  onChange: (on: boolean) => void;
  label: string;
  disabled?: boolean;
  title?: string;
}) {
  return (
    <RadixSwitch.Root
      checked={checked}
      onCheckedChange={onChange}
      disabled={disabled}
      title={title}
      aria-label={label}
      className="h-5 w-9 shrink-0 rounded-full border border-line-strong bg-hover transition-colors disabled:opacity-50 data-[state=checked]:border-accent data-[state=checked]:bg-accent"
    >
      <RadixSwitch.Thumb className="block size-3.5 translate-x-0.5 rounded-full bg-fg transition-transform data-[state=checked]:translate-x-4.5 data-[state=checked]:bg-accent-fg" />
    </RadixSwitch.Root>
  );
}

/** One of a few, as buttons in a row. */
export function Segmented<T extends string>({
  value,
  onChange,
  options,
  label,
  disabled,
  title,
}: {
  value: T;
  onChange: (value: T) => void;
  options: { value: T; label: ReactNode; title?: string }[];
  label: string;
  disabled?: boolean;
  title?: string;
}) {
  return (
    <fieldset
      disabled={disabled}
      title={title}
      className="inline-flex shrink-0 rounded-md border border-line bg-bg p-0.5 disabled:opacity-50 disabled:[&_button]:cursor-not-allowed"
    >
      <legend className="sr-only">{label}</legend>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          title={option.title}
          aria-pressed={option.value === value}
          onClick={() => onChange(option.value)}
          className={cx(
            "inline-flex h-6.5 items-center gap-1 rounded px-2 text-xs font-medium transition-colors",
            option.value === value ? "bg-surface text-fg shadow-sm ring-1 ring-line" : "text-muted hover:text-fg",
          )}
        >
          {option.label}
        </button>
      ))}
    </fieldset>
  );
}
