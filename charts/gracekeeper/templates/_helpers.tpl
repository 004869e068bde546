{{/* The chart's name, as the label app.kubernetes.io/name has it. */}}
{{- define "gracekeeper.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of every object. Cut at 52 characters, so that a suffix ("-metrics") still fits into the 63 of a Service's name.
*/}}
{{- define "gracekeeper.fullname" -}}
{{- $name := include "gracekeeper.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What identifies our pods. Never add to it: the selector of a Deployment is immutable. */}}
{{- define "gracekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gracekeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of everything that runs or belongs to the operator. */}}
{{- define "gracekeeper.labels" -}}
{{ include "gracekeeper.selectorLabels" . }}
{{ include "gracekeeper.commonLabels" . }}
{{- end -}}

{{/* Labels without a component, for objects that outlive or are not the operator. */}}
{{- define "gracekeeper.commonLabels" -}}
app.kubernetes.io/part-of: gracekeeper
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gracekeeper.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "gracekeeper.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name must name an existing ServiceAccount when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gracekeeper.leaseName" -}}
{{- .Values.lease.name | default (include "gracekeeper.fullname" .) -}}
{{- end -}}

{{/* A digest pins the image. A tag beside it only tells people what it is, so it is shown if it was set on purpose. */}}
{{- define "gracekeeper.image" -}}
{{- $image := .Values.image -}}
{{- if and $image.digest $image.tag -}}
{{- printf "%s:%s@%s" $image.repository $image.tag $image.digest -}}
{{- else if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* HOST:PORT for --listen; an IPv6 host needs brackets. */}}
{{- define "gracekeeper.listen" -}}
{{- $host := .Values.controller.listenHost -}}
{{- if contains ":" $host -}}[{{ $host }}]:8080{{- else -}}{{ $host }}:8080{{- end -}}
{{- end -}}

{{/*
"true" where the server has this kind of admission policy (v1), else nothing: (list . KIND SINCE), where SINCE is the
first minor version with it. A live server is also asked, because an API can be switched off. `helm template` knows only
a version (--kube-version) and the kinds that this Helm was built with, whatever the version: there the version decides.
*/}}
{{- define "gracekeeper.serves" -}}
{{- $root := index . 0 -}}
{{- if semverCompare (printf ">=%s.0-0" (index . 2)) $root.Capabilities.KubeVersion.Version -}}
{{- if or ($root.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1/%s" (index . 1))) (not (lookup "v1" "Namespace" "" "default")) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The operator's name as a user, as the API server tells it to admission policies. */}}
{{- define "gracekeeper.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "gracekeeper.serviceAccountName" . }}
{{- end -}}

{{/*
A list in CEL: the keys of a part of the object that differ from what they were, come or go: (list PART NAME ALLOWED).
Keys in ALLOWED may differ.
*/}}
{{- define "gracekeeper.guard.changed" -}}
{{- $part := index . 0 -}}
{{- $name := index . 1 -}}
{{- $quoted := list -}}
{{- range index . 2 }}{{ $quoted = append $quoted (squote .) }}{{ end -}}
{{- $allowed := printf "[%s]" (join ", " $quoted) -}}
dyn(object).{{ $part }}.map(k, !(k in {{ $allowed }}) && dyn(oldObject).{{ $part }}[?k] != optional.of(dyn(object).{{ $part }}[k]), '{{ $name }}.' + k)
+ dyn(oldObject).{{ $part }}.map(k, !(k in {{ $allowed }}) && !(k in dyn(object).{{ $part }}), '{{ $name }}.' + k)
{{- end -}}

{{/* What a schema cannot say: relations between two values. */}}
{{- define "gracekeeper.check" -}}
{{- with .Values.lease -}}
{{- if le (int .durationSeconds) (int .renewDeadlineSeconds) -}}
{{- fail (printf "lease.durationSeconds (%d) must be greater than lease.renewDeadlineSeconds (%d): the holder has to stop before a standby takes over" (int .durationSeconds) (int .renewDeadlineSeconds)) -}}
{{- end -}}
{{- if le (int .renewDeadlineSeconds) (int .retryPeriodSeconds) -}}
{{- fail (printf "lease.renewDeadlineSeconds (%d) must be greater than lease.retryPeriodSeconds (%d): else one failed request gives the lease away" (int .renewDeadlineSeconds) (int .retryPeriodSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" where policies ride along: it is wanted, and the server has MutatingAdmissionPolicy v1. */}}
{{- define "gracekeeper.rideAlong" -}}
{{- if .Values.rideAlong.enabled }}{{ include "gracekeeper.serves" (list . "MutatingAdmissionPolicy" "1.36") }}{{ end -}}
{{- end -}}

{{- define "gracekeeper.rideAlongName" -}}
{{- include "gracekeeper.fullname" . }}-ride-along
{{- end -}}

{{/* CEL: whether the selector of this name selects the object, as src/core/selector.rs does. */}}
{{- define "gracekeeper.selects" -}}
{{- $s := . -}}
(!has({{ $s }}.matchLabels) || {{ $s }}.matchLabels.all(k, object.metadata.?labels[?k] == optional.of({{ $s }}.matchLabels[k])))
&& (!has({{ $s }}.matchExpressions) || {{ $s }}.matchExpressions.all(e,
  e.operator == 'Exists' ? object.metadata.?labels[?e.key].hasValue()
  : e.operator == 'DoesNotExist' ? !object.metadata.?labels[?e.key].hasValue()
  : (e.operator == 'In') == (object.metadata.?labels[?e.key].optMap(v, v in e.values).orValue(false))))
{{- end -}}
